"""The search over llama's, Pythia's and nanochat's shapes, from the question to the explained plan."""

import pytest

import fwplan
from fwplan.errors import FwplanError
from fwplan.planning import space
from fwplan.planning.plan import Plan


@pytest.fixture(autouse=True)
def fewer_depths(monkeypatch):
    monkeypatch.setattr(space, "DEPTHS", (4, 8, 12))


@pytest.mark.parametrize("architecture", ["llama", "nanochat", "pythia"])
def test_a_plan_of_another_architecture_is_saved_and_explained(tmp_path, architecture):
    found = fwplan.suggest(vram=12, tokens=1e9, architecture=architecture)
    path = found.plan.save(tmp_path / "plan.json")
    model = Plan.load(path).spec.model
    assert model == found.pick.spec.model
    assert model.architecture == architecture
    assert found.pick.estimate.verdict == "fits"
    assert found.pick.estimate.total_seconds is not None
    again = fwplan.estimate(Plan.load(path).spec, found.request.target)
    assert again.use.needed.high == found.pick.estimate.use.needed.high


def test_nanochats_depth_decides_its_width():
    models = space.space_of(fwplan.suggest(vram=12, tokens=1e9, architecture="nanochat").request).models
    assert [(m.n_layer, m.n_embd, m.n_head) for m in models] == [(4, 256, 2), (8, 512, 4), (12, 768, 6)]


def test_a_shape_that_pinned_key_value_heads_do_not_suit_is_left_out():
    request = fwplan.suggest(vram=12, tokens=1e9, architecture="llama", settings=["n_kv_head=3"]).request
    models = space.space_of(request).models
    assert models
    assert all(m.n_kv_head == 3 and m.n_head % 3 == 0 for m in models)


@pytest.mark.parametrize(
    ("architecture", "settings", "message"),
    [
        ("mamba", [], "unknown architecture 'mamba'"),
        ("llama", ["bias=true"], "unknown field 'bias'"),
        ("gpt2", ["n_kv_head=4"], "unknown field 'n_kv_head'"),
        ("gpt2", ["architecture=llama"], "architecture is not set with --set"),
        ("nanochat", ["dropout=0.1"], "nanochat has neither tied embeddings nor dropout"),
        ("nanochat", ["loss=chunked"], "nanochat caps them"),
        ("nanochat", ["n_layer=8", "n_embd=768", "n_head=7"], "nothing that is searched has"),
    ],
)
def test_what_an_architecture_does_not_have_is_refused(architecture, settings, message):
    with pytest.raises(FwplanError, match=message):
        fwplan.suggest(vram=12, tokens=1e9, architecture=architecture, settings=settings)
