"""nanochat's runs: its arguments, what it works out from them, a base_train.py of any age; autoresearch's constants."""

import ast

import pytest

from fwplan.configs import NANOCHAT, load_config
from fwplan.configs.fingerprint import _functions, fingerprint
from fwplan.configs.nanochat import autoresearch, base_train
from fwplan.configs.nanochat.rules import flops_per_token, multiplied, width
from fwplan.errors import FwplanError
from fwplan.model.nanochat import Nanochat
from fwplan.spec.flat import flat

SCRIPT = """\
import argparse
from nanochat.gpt import GPT, GPTConfig
open("executed", "w")
parser = argparse.ArgumentParser()
parser.add_argument("--run", type=str, default="dummy")
parser.add_argument("--device-type", type=str, default="")
parser.add_argument("--fp8", action="store_true")
parser.add_argument("--depth", type=int, default=8)
parser.add_argument("--aspect-ratio", type=int, default=64)
parser.add_argument("--head-dim", type=int, default=128)
parser.add_argument("--max-seq-len", type=int, default=1024)
parser.add_argument("--window-pattern", type=str, default="SL")
parser.add_argument("--num-iterations", type=int, default=-1)
parser.add_argument("--target-flops", type=float, default=-1.0)
parser.add_argument("--target-param-data-ratio", type=float, default=8)
parser.add_argument("--device-batch-size", type=int, default=16)
parser.add_argument("--total-batch-size", type=int, default=2**19)
parser.add_argument("--matrix-lr", type=float, default=0.02)
parser.add_argument("--weight-decay", type=float, default=0.2)
parser.add_argument("--warmup-steps", type=int, default=40)
parser.add_argument("--final-lr-frac", type=float, default=0.0)
parser.add_argument("--eval-every", type=int, default=250)
parser.add_argument("--eval-tokens", type=int, default=20*524288)
args = parser.parse_args()
model = GPT(GPTConfig(n_layer=args.depth))
loss.backward()
"""
GPT = """\
def norm(x):
    return F.rms_norm(x, (x.size(-1),))  # no weights

class GPT(nn.Module):
    def __init__(self, config):
        self.smear_gate = self.window_sizes = self.value_embeds = self.resid_lambdas = None

    def forward(self, idx):
        '''The loss.'''
        return norm(idx)
"""
AUTORESEARCH = f"""\
from prepare import MAX_SEQ_LEN, TIME_BUDGET, make_dataloader
{GPT}
ASPECT_RATIO = 64
HEAD_DIM = 128
WINDOW_PATTERN = "SSSL"
TOTAL_BATCH_SIZE = 2**19
MATRIX_LR = 0.04
UNEMBEDDING_LR = 0.004
WEIGHT_DECAY = 0.2
ADAM_BETAS = (0.8, 0.95)
DEPTH = 8
DEVICE_BATCH_SIZE = 128
open("executed", "w")
model = GPT(DEPTH)
"""
PREPARE = "MAX_SEQ_LEN = 1024 * 2\nTIME_BUDGET = 300\nVOCAB_SIZE = 8192\n"


def digests(source):
    return {name: fingerprint(node) for name, node in _functions(ast.parse(source).body, "")}


def parameters(loaded):
    model = loaded.spec.model
    return model.parameters(model.dims)


# ---------------------------------------------------------------- by its arguments alone


@pytest.mark.parametrize(
    ("words", "shape", "count"),  # the counts are nanochat's own, published with its runs
    [
        (["depth=12"], (12, 6, 768), 286_261_730),
        (["depth=18"], (18, 9, 1152), 701_891_594),
        (["depth=24", "device_batch_size=16"], (24, 12, 1536), 1_384_122_122),
        (["--depth=2", "--head-dim=64"], (2, 2, 128), 12_976_182),
    ],
)
def test_the_shape_follows_from_the_depth(words, shape, count):
    loaded = load_config(NANOCHAT, words)
    model = loaded.spec.model
    assert (loaded.kind, model.n_layer, model.n_head, model.n_embd) == ("nanochat", *shape)
    assert parameters(loaded) == count


def test_widths_are_whole_heads():
    assert [width(depth, 64, 128) for depth in (4, 5, 13, 26)] == [256, 384, 896, 1664]


def test_what_the_matrices_multiply_is_counted_as_nanochat_does():
    model = Nanochat(n_layer=12, n_head=6, n_embd=768)
    assert multiplied(model) == 12 * 12 * 768**2 + 6 * 12 * 6 + 32768 * 768
    windows = 9 * 512 + 3 * 2048
    assert flops_per_token(model) == 6 * (multiplied(model) + 24) + 12 * 768 * windows


def test_the_run_follows_from_the_depth():
    train = flat(load_config(NANOCHAT, ["depth=12"]).spec.train)
    assert (train["grad_accum_steps"], train["max_steps"]) == (8, 12 * 110_100_912 // 2**19)  # 2**19 tokens a step
    assert (train["learning_rate"], train["min_lr"]) == (
        0.008,
        pytest.approx(0.0004),
    )  # the reference: nothing is scaled
    assert (train["optimizer.matrix_learning_rate"], train["weight_decay"]) == (0.02, 0.28)
    assert (train["optimizer"], train["optimizer.adjust"]) == ("muon", "original")
    deeper = flat(load_config(NANOCHAT, ["depth=24", "device_batch_size=16"]).spec.train)
    assert deeper["grad_accum_steps"] == 2**20 // (16 * 2048)
    assert deeper["optimizer.matrix_learning_rate"] == pytest.approx(0.02 * 2**0.5)
    assert deeper["learning_rate"] == pytest.approx(0.008)  # twice the batch, twice the width
    assert deeper["weight_decay"] == pytest.approx(0.28 * 2**0.5 * 110_100_912 / 729_810_624)
    assert (deeper["compile"], deeper["tf32"], deeper["grad_clip"], deeper["expandable_segments"]) == (
        True, True, 0.0, True,
    )  # fmt: skip


def test_the_first_horizon_that_is_given_counts():
    steps = [
        flat(load_config(NANOCHAT, ["depth=12", *words]).spec.train)["max_steps"]
        for words in (["num_iterations=77", "target_flops=1e18"], ["target_flops=1e18"])
    ]
    assert steps == [77, round(1e18 / (759_696_048 * 2**19))]
    with pytest.raises(FwplanError, match="nothing says how long"):
        load_config(NANOCHAT, ["depth=12", "target_param_data_ratio=-1"])


def test_evaluations_are_counted_in_micro_batches():
    train = flat(load_config(NANOCHAT, ["depth=4", "device_batch_size=8", "eval_tokens=1048576"]).spec.train)
    assert (train["eval_interval"], train["eval_batches"]) == (250, 64)
    assert load_config(NANOCHAT, ["depth=4", "eval_every=-1", "eval_tokens=1"]).spec.train.eval_batches == 20


def test_settings_of_fwplans_own_may_be_typed_too():
    spec = load_config(NANOCHAT, ["depth=4", "--attention=efficient", "vocab_size=50257", "grad_accum_steps=1"]).spec
    assert (spec.train.attention, spec.model.vocab_size, spec.train.grad_accum_steps) == ("efficient", 50257, 1)
    on_cpu = load_config(NANOCHAT, ["depth=4", "device_type=cpu"]).spec
    assert (on_cpu.device.type, on_cpu.train.dtype) == ("cpu", "float32")


@pytest.mark.parametrize(
    ("words", "message", "where"),
    [
        (["dept=3"], "unknown argument 'dept'", None),
        (["depth=7.5"], "must be a positive integer", "--depth"),
        (["depth=4", "total_batch_size=1000"], "does not divide by 32 x 2048", "--total_batch_size"),
        (["depth=4", "window_pattern=XYZ"], "window_pattern", "--window_pattern"),
        (["depth=4", "matrix_lr=fast"], "must be a number", "--matrix_lr"),
        (["depth=4", "target_param_data_ratio=0"], "which is 0", "--target_param_data_ratio"),
    ],
)
def test_arguments_that_are_refused(words, message, where):
    with pytest.raises(FwplanError, match=message) as caught:
        load_config(NANOCHAT, words)
    assert caught.value.where == where


def test_what_is_not_counted_of_a_run():
    assert [one.key for one in load_config(NANOCHAT, ["depth=24", "--fp8"]).unknown] == ["fp8"]
    assert [one.key for one in load_config(NANOCHAT, ["depth=24"], world_size=8).unknown] == ["world_size 8"]


# ---------------------------------------------------------------- by its script


@pytest.fixture
def script(tmp_path, monkeypatch):
    """Return a function that reads a base_train.py, changed as asked, beside a gpt.py of known functions."""
    monkeypatch.setattr(base_train, "MODEL", digests(GPT))
    monkeypatch.chdir(tmp_path)

    def read(*overrides, change=("", ""), gpt=GPT):
        before, after = change
        assert before in SCRIPT
        (tmp_path / "scripts").mkdir(exist_ok=True)
        (tmp_path / "nanochat").mkdir(exist_ok=True)
        path = tmp_path / "scripts" / "base_train.py"
        path.write_text(SCRIPT.replace(before, after, 1) if before else SCRIPT, encoding="utf-8")
        if gpt is not None:
            (tmp_path / "nanochat" / "gpt.py").write_text(gpt, encoding="utf-8")
        loaded = load_config(path, overrides)
        assert not (tmp_path / "executed").exists()
        return loaded

    return read


def test_a_scripts_own_defaults_count(script):
    loaded = script()
    model, train = loaded.spec.model, loaded.spec.train
    assert (model.n_layer, model.n_embd, model.context_length, model.window_pattern) == (8, 512, 1024, "SL")
    assert (train.micro_batch_size, train.grad_accum_steps) == (16, 2**19 // (16 * 1024))
    assert loaded.lines["model.n_layer"] == 8
    assert loaded.lines["train.micro_batch_size"] == 16
    assert [place for place in loaded.uncounted if "gpt.py" in place or "older" in place] == []


def test_arguments_are_typed_as_the_script_takes_them(script):
    loaded = script("--depth=4", "--device-batch-size=2", "--total-batch-size=4096")
    assert (loaded.spec.model.n_layer, loaded.spec.train.grad_accum_steps) == (4, 2)
    with pytest.raises(FwplanError, match="unknown argument"):
        script("--depht=4")


def test_an_argument_without_a_plain_default_is_asked_for(script):
    loaded = script(change=("type=int, default=8)", "type=int, default=pick())"))
    assert [(one.key, one.line) for one in loaded.unknown] == [("depth", 8)]
    assert script("--depth=4", change=("type=int, default=8)", "type=int, default=pick())")).spec.model.n_layer == 4


def test_older_scripts_are_told_by_their_arguments(script):
    old = script(change=('"--warmup-steps", type=int, default=40', '"--warmup-ratio", type=float, default=0.1'))
    assert "an older nanochat (line 20)" in old.uncounted
    train = flat(old.spec.train)
    assert train["warmup_steps"] == round(0.1 * train["max_steps"])
    cast = script(change=("loss.backward()", "torch.amp.autocast('cuda')\nloss.backward()"))
    assert "autocast (line 26)" in cast.uncounted
    (refused,) = script(change=('parser.add_argument("--window-pattern", type=str, default="SL")\n', "")).unknown
    assert "before 2026-01-11" in refused.reason


def test_the_first_scripts_had_plain_variables(tmp_path):
    path = tmp_path / "base_train.py"
    oldest = "depth = 20\nmax_seq_len = 2048\ndevice_batch_size = 32\nexec(open('configurator.py').read())\n"
    path.write_text(f"from nanochat.gpt import GPT\n{oldest}model = GPT(depth)\n", encoding="utf-8")
    (refused,) = load_config(path, ["--depth=4"]).unknown
    assert "before 2026-01-11" in refused.reason


def test_the_model_beside_the_script_is_looked_at(script):
    (refused,) = script(gpt=GPT.replace("self.value_embeds = ", "")).unknown
    assert "no value embeddings" in refused.reason
    assert "an older nanochat (gpt.py)" in script(gpt=GPT.replace("self.smear_gate = ", "")).uncounted
    assert "its own gpt.py" in script(gpt=GPT.replace("norm(idx)", "idx")).uncounted
    commented = GPT.replace("'''The loss.'''", "# of these tokens\n        'Another text.'")
    assert "its own gpt.py" not in script(gpt=commented).uncounted


def test_a_missing_model_is_said(script):
    assert any("gpt.py is not there" in note for note in script(gpt=None).notes)


# ---------------------------------------------------------------- autoresearch


@pytest.fixture
def research(tmp_path, monkeypatch):
    """Return a function that puts autoresearch's train.py, changed as asked, beside its prepare.py and reads it."""
    monkeypatch.setattr(autoresearch, "MODEL", digests(GPT))
    monkeypatch.chdir(tmp_path)

    def read(*overrides, change=("", ""), prepare=PREPARE):
        before, after = change
        assert before in AUTORESEARCH
        path = tmp_path / "train.py"
        path.write_text(AUTORESEARCH.replace(before, after, 1) if before else AUTORESEARCH, encoding="utf-8")
        if prepare is not None:
            (tmp_path / "prepare.py").write_text(prepare, encoding="utf-8")
        loaded = load_config(path, overrides)
        assert not (tmp_path / "executed").exists()
        return loaded

    return read


def test_constants_make_the_run(research):
    loaded = research()
    model, train = loaded.spec.model, flat(loaded.spec.train)
    assert (loaded.kind, model.n_layer, model.n_embd, model.vocab_size) == ("autoresearch", 8, 512, 8192)
    assert (model.context_length, train["micro_batch_size"], train["grad_accum_steps"]) == (2048, 128, 2)
    assert (train["max_steps"], train["dtype"], train["learning_rate"]) == (None, "bfloat16", 0.004)
    assert (train["optimizer"], train["optimizer.matrix_learning_rate"]) == ("muon", 0.04)
    assert any("300 seconds" in note for note in loaded.notes)
    assert loaded.lines["model.n_layer"] == 21


def test_constants_may_be_typed(research):
    loaded = research("DEPTH=9", "--DEVICE_BATCH_SIZE=64")
    assert (loaded.spec.model.n_embd, loaded.spec.train.grad_accum_steps) == (640, 4)
    assert research(prepare=PREPARE.replace("8192", "4096")).spec.model.vocab_size == 4096


def test_a_missing_prepare_py_is_said(research):
    loaded = research(prepare=None)
    assert loaded.spec.model.vocab_size == 8192
    assert any("prepare.py is not there" in note for note in loaded.notes)


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        (("return norm(idx)", "return idx"), ["GPT.forward"]),
        (("DEPTH = 8", "DEPTH = pick()"), ["DEPTH"]),
        (("HEAD_DIM = 128\n", ""), ["HEAD_DIM"]),
        (("DEPTH = 8", "for DEPTH in (8, 9): pass"), ["DEPTH"]),
    ],
)
def test_what_is_edited_beyond_the_constants_is_refused(research, change, unknown):
    loaded = research(change=change)
    assert (loaded.spec, [one.key for one in loaded.unknown]) == (None, unknown)


def test_a_digest_is_of_what_code_does():
    def of(text):
        return fingerprint(ast.parse(text))

    assert of("def f(x):\n  'Doc.'\n  return x + 1  # one") == of("def f( x ):\n    assert x\n    return x+1")
    assert len({of(text) for text in ("x + 1", "x + 2", "y + 1", "x - 1", "f(x, y)", "f(x)(y)", "x + '1'")}) == 7
