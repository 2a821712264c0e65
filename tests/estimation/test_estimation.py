import json

import pytest
from rich.text import Text

import fwplan
from fwplan.errors import FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.machine.target import named_gpu, nominal_gpu, target_of
from fwplan.planning.plan import Plan
from fwplan.spec import DataSpec, DeviceSpec
from fwplan.units import GIB
from fwplan.view.html import write_report, write_suggestion
from fwplan.view.notes import loss_text
from fwplan.view.terminal.explain import explain_lines
from fwplan.view.terminal.suggest import suggest_lines


def test_the_public_names_are_there():
    from fwplan import DataSpec, DeviceSpec, ModelSpec, Plan, RunSpec, TrainSpec, estimate, load_config, suggest

    spec = RunSpec(
        model=ModelSpec(n_layer=12, n_head=12, n_embd=384),
        train=TrainSpec(micro_batch_size=8, grad_accum_steps=32, max_steps=1000),
        device=DeviceSpec(name="RTX 4070"),
        data=DataSpec(tokens=10**9),
    )
    assert estimate(spec).verdict == "fits"
    assert suggest(gpu="4070", tokens=1e9).plan.model.n_layer > 1
    assert callable(load_config)
    assert Plan.__name__ == "Plan"
    assert set(fwplan.__all__) <= {*dir(fwplan), *fwplan._HOMES}
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fwplan.nothing


def test_json_has_the_contracts_keys_and_whole_bytes(run_spec):
    spec = run_spec(max_steps=100, data=DataSpec(tokens=10**7))
    document = json.loads(json.dumps(estimate(spec, named_gpu("4070"), measurements=[]).as_dict()))
    peak = document["peak"]
    assert document["verdict"] == "fits_at_point"
    assert document["parameters"] == {"total": 124_373_760, "non_position": 123_587_328}
    assert set(peak) == {
        "allocated_bytes", "allocated_interval", "reserved_bytes", "device_used_bytes", "needed_bytes", "phase",
        "status",
    }  # fmt: skip
    assert peak["status"] == "prior"
    for low, high in (peak["allocated_interval"], peak["reserved_bytes"], peak["device_used_bytes"]):
        assert isinstance(low, int)
        assert isinstance(high, int)
        assert low <= high
    at_peak = [line for line in document["lines"] if peak["phase"] in line["phases"]]
    assert sum(line["bytes"] for line in at_peak) == peak["allocated_bytes"]
    assert set(document["lines"][0]) == {
        "name", "bytes", "shape", "dtype", "phases", "kind", "formula", "source", "status"
    }  # fmt: skip
    assert all(line["source"] and line["formula"] for line in document["lines"])
    assert document["tokens"]["epochs"] == pytest.approx(100 * 16 * 1024 / 10**7)
    assert document["time"]["step_seconds"][0] < document["time"]["step_seconds"][1]
    assert document["energy_kwh"][0] < document["energy_kwh"][1]


def test_what_is_unknown_is_none_and_never_zero(run_spec):
    nothing = estimate(run_spec(), measurements=[])
    assert nothing.verdict == "no_device"
    assert nothing.step_seconds is nothing.total_seconds is nothing.energy_kwh is nothing.loss is None
    stranger = estimate(run_spec(device=DeviceSpec(name="Voodoo 2", total_bytes=8 * GIB)), measurements=[])
    assert stranger.step_seconds is None
    assert stranger.verdict == "does_not_fit"


def test_a_device_of_unknown_memory_is_undecidable(run_spec):
    for device, why in ((DeviceSpec(name="Voodoo 2"), "is unknown"), (DeviceSpec(type="mps"), "(mps) is not modelled")):
        found = estimate(run_spec(device=device), measurements=[])
        assert found.verdict == "undecidable"
        assert why in found.undecidable


def test_cuda_alone_is_no_device_named(run_spec):
    assert estimate(run_spec(device=DeviceSpec()), measurements=[]).verdict == "no_device"


def test_a_bare_cpu_is_this_machines(run_spec):
    found = estimate(run_spec(device="cpu"), measurements=[])
    assert found.available_bytes > 0
    assert found.step_seconds is not None
    assert found.use.reserved is None


def test_a_larger_evaluation_batch_is_counted(run_spec):
    def peak(size):
        return estimate(run_spec(micro_batch_size=1, eval_micro_batch_size=size), measurements=[]).as_dict()["peak"]

    assert peak(64)["phase"] == "evaluation loss"
    assert peak(64)["allocated_bytes"] > 3 * peak(None)["allocated_bytes"]
    assert peak(1) == peak(None)


def test_fsdp_is_undecidable(run_spec):
    found = estimate(run_spec(parallel="fsdp", world_size=8), named_gpu("4070"), measurements=[])
    assert found.verdict == "undecidable"
    assert found.as_dict()["peak"] is None
    assert "fsdp" in found.undecidable


def test_the_specs_own_figures_win_over_the_tables():
    device = DeviceSpec(name="RTX 4070", total_bytes=12_582_912_000, in_use_bytes=0)
    assert target_of(device).device == device
    assert target_of(DeviceSpec(name="RTX 4070")).device.in_use_bytes > 0


def test_speed_of_an_unnamed_card_is_that_of_the_known_ones_of_its_size(run_spec):
    spec = run_spec(max_steps=10)
    unnamed = estimate(spec, nominal_gpu(12 * GIB), measurements=[]).step_seconds
    named = estimate(spec, named_gpu("4070"), measurements=[]).step_seconds
    assert unnamed[0] <= named[0]
    assert named[1] <= unnamed[1]


def test_an_unknown_card_is_named_in_the_error():
    with pytest.raises(FwplanError, match="unknown GPU 'Voodoo 2'"):
        named_gpu("Voodoo 2")


@pytest.mark.parametrize("vocabulary", [65, 256, 32_000, 128_256])
def test_the_loss_of_another_vocabulary_is_unknown_and_everything_copes(tmp_path, run_spec, vocabulary):
    spec = run_spec(vocab_size=vocabulary, max_steps=20_000, grad_accum_steps=32, micro_batch_size=2)
    found = estimate(spec, named_gpu("4090"), measurements=[])
    assert found.loss is None
    assert loss_text(found) == "unknown: the laws' offset is known for GPT-2's vocabulary alone"
    assert found.as_dict()["expected_loss"] is None
    assert estimate(run_spec(max_steps=20_000), measurements=[]).loss is not None
    plan = Plan.of(found, "a test").save(tmp_path / "plan.json")
    assert Plan.load(plan).predicted.expected_loss is None
    explanation = fwplan.explain(plan)
    said = [line for line in explain_lines(explanation) if line.startswith("  loss")]
    assert said == [f"  loss        {loss_text(found)}"]
    assert len(said[0]) <= 80
    write_report(explanation, tmp_path / "report.html")
    assert "known for GPT-2" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_comment_that_promises_a_loss_is_not_judged_across_vocabularies(tmp_path):
    config = tmp_path / "config.py"
    text = "# beats GPT-2 small\nn_layer = 24\nn_embd = 1008\nbatch_size = 8\nmax_iters = 90000\n"
    config.write_text(text + "vocab_size = 50304\n", encoding="utf-8")
    assert [claim.topic for claim in fwplan.explain(config).claims] == ["loss"]
    config.write_text(text + "vocab_size = 256\n", encoding="utf-8")
    assert fwplan.explain(config).claims == ()


def test_a_search_over_another_vocabulary_expects_no_loss(tmp_path):
    found = fwplan.suggest(vram=12, tokens=2e9, settings=["vocab_size=256"])
    assert found.pick.estimate.loss is None
    assert not any(point.loss for point in found.front.points)
    lines = [Text.from_markup(line).plain for line in suggest_lines(found, "plan.json")]
    assert "   expected loss unknown: the laws' offset is known for GPT-2's vocabulary alone" in lines
    assert all(len(line) <= 80 for line in lines)
    write_suggestion(found, tmp_path / "suggest.html", "plan.json")
    page = (tmp_path / "suggest.html").read_text(encoding="utf-8")
    assert "so no loss is expected" in page
    assert "too small for the scaling laws" not in page
