"""`explain` and `run` of config files: as nanoGPT's users type it, evaluations, and training what explain reads."""

import json
import pickle
import sys

import numpy as np
import pytest

import fwplan
from fwplan.cli import main
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimators.memory import estimate_memory, evaluation_memory
from fwplan.tape.phases import EVALUATION
from fwplan.view.terminal.explain import explain_lines

TRAIN = """\
from model import GPTConfig, GPT
dataset = 'letters'
gradient_accumulation_steps = 2
batch_size = 12
block_size = 64
n_layer = 2
n_head = 2
n_embd = 64
dropout = 0.0
bias = False
max_iters = 4
eval_interval = 2
eval_iters = 1
device = 'cuda'
dtype = 'bfloat16'
compile = False
exec(open('configurator.py').read())
model_args = dict(vocab_size=None)
model_args['vocab_size'] = meta_vocab_size if meta_vocab_size is not None else 50304
model = GPT(GPTConfig(**model_args))
loss.backward()
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Return a nanoGPT checkout with a config and a data set of 65 letters, in which the tests run."""
    monkeypatch.chdir(tmp_path)
    for name in ("config", "data/letters"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "train.py").write_text(TRAIN, encoding="utf-8")
    (tmp_path / "config/x.py").write_text("n_layer = 1\nlearning_rate = 1e-3\n", encoding="utf-8")
    (tmp_path / "data/letters/meta.pkl").write_bytes(pickle.dumps({"vocab_size": 65, "stoi": {}}))
    for split in ("train", "val"):
        (np.arange(20_000) % 65).astype(np.uint16).tofile(tmp_path / f"data/letters/{split}.bin")
    return tmp_path


@pytest.fixture
def typed(monkeypatch, capsys):
    """Return a function that types a command and returns its exit code, output and errors."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["fwplan", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    "words",
    [
        ("train.py", "config/x.py", "--batch_size=8", "--gpu", "4070", "--json"),
        ("--json", "--gpu", "4070", "train.py", "--batch_size=8", "config/x.py"),
        ("train.py", "config/x.py", "--json", "--gpu", "4070", "--", "--batch_size=8"),
        ("config/x.py", "--batch_size=8", "--gpu", "4070", "--json"),
    ],
)
def test_settings_and_configs_are_typed_as_for_nanogpt(typed, words):
    code, out, err = typed("explain", *words)
    assert (code, err) == (ExitCode.OK, "")
    found = json.loads(out)
    assert found["tokens"]["per_step"] == 8 * 64 * 2
    assert found["parameters"]["total"] == fwplan.explain("config/x.py").estimate.parameters.total


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("--gpuu=4070", "did you mean --gpu?"),
        ("--gpuu", "no such option: --gpuu"),
        ("--batch_size", "a setting is written --batch_size=8"),
        ("-x", "no such option: -x"),
        ("--batchsize=8", "did you mean batch_size"),
        ("config/x.py", "name one config"),
    ],
)
def test_a_word_that_is_neither_option_nor_setting_is_refused(typed, word, said):
    code, out, err = typed("explain", "train.py", "config/x.py", word)
    assert (code, out) == (ExitCode.USAGE, "")
    assert said in err


@pytest.mark.usefixtures("folder")
def test_the_command_that_is_offered_is_typed_and_works(typed):
    found = fwplan.explain("train.py", ["config/x.py", "--batch_size=8"], gpu="RTX 4070")
    command = found.to_save()
    assert command == "fwplan explain train.py config/x.py --gpu 'RTX 4070' -o plan.json -- --batch_size=8"
    assert typed("explain", "train.py", "config/x.py", "--gpu", "RTX 4070", "-o", "plan.json", "--batch_size=8")[0] == 0
    assert fwplan.load_config("plan.json").spec.train.micro_batch_size == 8


def test_which_of_several_scripts_is_asked_with_the_users_own_flags(folder):
    (folder / "train.py").rename(folder / "train_a.py")
    (folder / "train_b.py").write_text(TRAIN, encoding="utf-8")
    with pytest.raises(FwplanError, match=r"which of train_a\.py, train_b\.py") as caught:
        fwplan.explain("config/x.py", ["--batch_size=8"], vram=12)
    assert caught.value.exit_code is ExitCode.UNDECIDABLE
    assert caught.value.hint == "name it: fwplan explain train_a.py config/x.py --vram 12 -- --batch_size=8"


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_evaluation_is_that_of_a_training_without_what_training_keeps(run_spec, compiled, dtype):
    alone = evaluation_memory(run_spec(micro_batch_size=8, compile=compiled, dtype=dtype))
    between = estimate_memory(run_spec(micro_batch_size=1, eval_micro_batch_size=8, compile=compiled, dtype=dtype))
    moments = sum(line.bytes for line in between.lines if line.name in {"AdamW moments", "step counts"})
    without = {phase: size - moments for phase, size in between.totals.items() if phase & EVALUATION}
    assert alone.totals == pytest.approx(without, rel=1e-4)  # but for the rounding of what is not there
    assert alone.allocated_bytes == max(alone.totals.values())
    assert alone.allocated_interval[0] <= alone.allocated_bytes <= alone.allocated_interval[1]


def test_an_eval_only_config_is_judged_as_the_evaluation_that_it_is(folder, typed):
    (folder / "big.py").write_text("init_from = 'gpt2-xl'\nbatch_size = 8\nblock_size = 1024\neval_only = True\n")
    found = fwplan.explain("big.py", gpu="RTX 4090")
    assert found.verdict == "fits"
    assert (found.fixes, found.claims, found.estimate.step_seconds, found.estimate.loss) == ((), (), None, None)
    assert fwplan.explain("big.py", ["--eval_only=False"], gpu="RTX 4090").verdict == "does_not_fit"
    text = "\n".join(explain_lines(found))
    assert "evaluates only, never trains" in text
    assert "fwplan run" not in text
    assert 24 in fwplan.explain("big.py").fitting_gb
    assert json.loads(typed("explain", "big.py", "--json")[1])["eval_only"] is True
    assert typed("explain", "big.py", "--html", "page.html")[0] == ExitCode.OK
    for words in (("--fix", "1"), ("--trace",), ("-o", "plan.json")):
        code, _, err = typed("explain", "big.py", *words)
        assert code == ExitCode.USAGE
        assert "fwplan explain big.py -- --eval_only=False" in err
    with pytest.raises(FwplanError, match="only evaluates") as caught:
        fwplan.run("big.py", device="cpu")
    assert caught.value.hint == "fwplan explain big.py -o plan.json -- --eval_only=False"


@pytest.mark.usefixtures("folder")
def test_a_config_is_trained_on_its_own_data_and_what_is_dropped_is_said(capsys):
    report = fwplan.run("config/x.py", device="cpu")
    assert report.result.steps_done == 4
    assert report.before.spec.model.vocab_size == 65
    assert (report.before.spec.train.dtype, report.before.spec.train.loss.returns_logits) == ("float32", False)
    assert "this trainer returns no logits" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.usefixtures("folder")
def test_what_explain_wrote_of_a_config_is_trained_too():
    fwplan.explain("config/x.py", ["--device=cpu", "--max_iters=3"]).saved("plan.json")
    assert fwplan.load_config("plan.json").spec.train.loss.keeps_logits
    report = fwplan.run("plan.json", data="data/letters")
    assert report.result.steps_done == 3


def test_a_config_that_starts_from_trained_weights_is_only_tried(folder):
    (folder / "tune.py").write_text("init_from = 'gpt2'\nmax_iters = 3\n")
    with pytest.raises(FwplanError, match="this trainer starts from scratch") as caught:
        fwplan.run("tune.py", device="cpu")
    assert "--dry-run" in caught.value.hint


def test_run_of_what_is_not_counted_is_refused_as_explain_does(folder):
    (folder / "moe.py").write_text("n_layer = 1\nuse_moe = True\n")
    with pytest.raises(FwplanError, match="use_moe = True") as caught:
        fwplan.run("moe.py", device="cpu")
    assert caught.value.exit_code is ExitCode.UNDECIDABLE
    (folder / "what.py").write_text("n_layer = 1\ndataset = 'words'\n")
    with pytest.raises(FwplanError) as caught:
        fwplan.run("what.py", device="cpu")
    assert caught.value.hint == "say it: fwplan explain what.py -o plan.json -- --vocab_size=VALUE"


@pytest.mark.parametrize("device", ["cuda", "cuda:1"])
def test_a_device_that_names_no_card_is_no_device_named(typed, folder, device):
    (folder / "train.py").write_text(TRAIN.replace("device = 'cuda'", f"device = '{device}'"), encoding="utf-8")
    (folder / "config/on.py").write_text(f"n_layer = 1\ndevice = '{device}'\n", encoding="utf-8")
    model = {"n_layer": 2, "n_head": 2, "n_embd": 64, "context_length": 64}
    spec = {"model": model, "train": {"micro_batch_size": 2}, "device": {"type": "cuda"}}
    (folder / "spec.json").write_text(json.dumps(spec), encoding="utf-8")
    for words in (["train.py"], ["config/on.py"], ["spec.json"], ["config/x.py", "--", f"--device={device}"]):
        code, out, _ = typed("explain", *words)
        assert (code, "No device named. It fits, with margin, cards of 8" in out) == (0, True), words
    assert "No device named" not in typed("explain", "train.py", "--gpu", "4070")[1]


def test_mps_is_undecidable_and_says_why(typed, folder):
    (folder / "config/on.py").write_text("n_layer = 1\ndevice = 'mps'\n", encoding="utf-8")
    code, out, _ = typed("explain", "config/on.py")
    assert (code, "memory on Apple GPUs (mps) is not modelled yet" in out) == (ExitCode.UNDECIDABLE, True)
