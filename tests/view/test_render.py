"""What the terminal shows, held by golden files; see conftest.py."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.text import Text

import fwplan
from fwplan.console.terminal import WIDTH, error_lines, show
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.learning.calibration import Calibration
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.view.figures import counted, energy, plain
from fwplan.view.terminal.explain import explain_lines
from fwplan.view.terminal.memory import memory_lines
from fwplan.view.terminal.run import run_lines
from fwplan.view.terminal.solve import solve_lines
from fwplan.view.terminal.suggest import card_lines, suggest_lines

GOLDEN = Path("tests/golden").resolve()
CONFIG = """\
# 125M parameters, fits 12 GB
n_layer = 12
n_head = 12
n_embd = 576
dropout = 0.0
block_size = 1024
batch_size = 16  # sequences
gradient_accumulation_steps = 32
max_iters = 20000
lr_decay_iters = 20000
compile = False
use_ema = True
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(CONFIG, encoding="utf-8")


def test_explain_on_a_card_that_is_too_small(check_text):
    check_text("explain-4070", explain_lines(fwplan.explain("config.py", gpu="RTX 4070")))


def test_explain_without_a_device(check_text):
    check_text("explain-no-device", explain_lines(fwplan.explain("config.py", ["--compile=True"])))


def test_explain_fixed(check_text):
    check_text("explain-fixed", explain_lines(fwplan.explain("config.py", vram=12, fix=4)))  # chunked loss


def test_suggest(check_text):
    check_text("suggest-vram-12", suggest_lines(fwplan.suggest(vram=12, tokens=10e9), "plan.json"))


def test_suggest_within_money_and_pins(check_text):
    found = fwplan.suggest(
        gpu="RTX 4070", objective="cheapest", loss=3.3, gpu_hour_price=0.3, kwh_price=0.3, budget=40.0,
        settings=["micro_batch_size=8"],
    )  # fmt: skip
    check_text("suggest-cheapest", suggest_lines(found, "plan.json"))


def test_suggest_for_several_cards(check_text):
    found = fwplan.suggest_cards(["8", "12", "16", "24", "40", "48", "80"], tokens=10e9)
    check_text("suggest-cards", card_lines(found))


def test_solve(check_text):
    found = fwplan.solve("micro_batch_size", "config.py", ["--compile=True"], gpu="RTX 4070")
    check_text("solve-4070", solve_lines(found))


@pytest.mark.parametrize(
    ("command", "words", "code"),
    [
        ("explain", ["config.py", "--gpu", "RTX 4070"], ExitCode.DOES_NOT_FIT),
        ("suggest", ["--vram", "12", "--tokens", "10e9"], ExitCode.OK),
        ("solve", ["micro_batch_size", "config.py", "--gpu", "RTX 4070", "--", "--compile=True"], ExitCode.OK),
    ],
)
def test_the_same_as_json(check_json, command, words, code):
    check_json(command, command, *words, code=code)


def test_error(capsys):
    error = FwplanError("it [broke]", where="config.py:3", hint="mend it")
    show(error_lines(error), to_stderr=True)
    assert capsys.readouterr().err == "error: it [broke]\n  --> config.py:3\nhint: mend it\n"


def test_a_long_error_is_wrapped_and_a_command_is_not(capsys):
    message = "no run on GeForce RTX 4070 is expected to reach 2.9 nats within these budgets, or any [other]"
    show(error_lines(FwplanError(message, hint=f"fwplan explain {'x' * 90}")), to_stderr=True)
    *said, hint = capsys.readouterr().err.splitlines()
    assert all(len(line) <= WIDTH for line in said)
    assert all(line.startswith(" " * 7) for line in said[1:])
    assert " ".join(line[7:] for line in said) == message
    assert hint == f"hint: fwplan explain {'x' * 90}"


@pytest.mark.parametrize("micro", [64, 4096])
def test_a_run_far_too_large_is_explained_in_80_columns(run_spec, micro):
    spec = run_spec(n_layer=1000, n_head=1024, n_embd=8192, vocab_size=2**20, micro_batch_size=micro, compile=False)
    Path("spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    lines = [Text.from_markup(line).plain for line in explain_lines(fwplan.explain("spec.json", gpu="RTX 4070"))]
    assert any("short by" in line for line in lines)
    assert all(len(line) <= WIDTH for line in lines), max(lines, key=len)


# every mode, from a few bytes to petabytes; beyond 2^63 bytes, an attention by formula of 16 M tokens, moments overflow
@given(
    model=st.fixed_dictionaries({
        "n_layer": st.integers(1, 1000), "n_head": st.sampled_from([1, 16, 1024]),
        "n_embd": st.sampled_from([1024, 4096, 2**17]), "vocab_size": st.sampled_from([2, 50_304, 2**24]),
        "context_length": st.sampled_from([1, 1024, 2**17]), "bias": st.booleans(), "tied_embeddings": st.booleans(),
    }) | st.just({"n_layer": 1, "n_head": 1, "n_embd": 1, "vocab_size": 2, "context_length": 1}),
    train=st.fixed_dictionaries({
        "micro_batch_size": st.sampled_from([1, 16, 4096]), "grad_accum_steps": st.integers(1, 2),
        "dtype": st.sampled_from(["float32", "bfloat16", "float16", "pure_bfloat16"]), "compile": st.booleans(),
        "loss": st.sampled_from(["full", "chunked"]), "checkpointing": st.sampled_from(["none", "block"]),
        "attention": st.sampled_from(["flash", "efficient", "math"]), "checkpoint_every": st.integers(1, 3),
        "optimizer": st.sampled_from(["adamw", "sgd"]),
        "optimizer_impl": st.sampled_from(["fused", "foreach", "for_loop"]),
    }),
    device=st.sampled_from([
        None, DeviceSpec(type="cpu", name="x", total_bytes=2**44, in_use_bytes=2**43),
        DeviceSpec(total_bytes=2**44, in_use_bytes=2**43), DeviceSpec(name="RTX 4070"), DeviceSpec(total_bytes=100),
    ]),
    learned=st.booleans(),
)  # fmt: skip
def test_the_peak_is_never_wider_than_the_terminal(model, train, device, learned):
    spec = RunSpec(model=ModelSpec(**model), train=TrainSpec(**train), device=device)
    found = estimate(spec, measurements=[])
    if learned:  # the longest status
        found = replace(found, calibration=Calibration(1.1, 0.02, 1.1, None, None, runs=12, timed=(), time_factor=1.1))
    lines = [Text.from_markup(line).plain for line in memory_lines(found)]
    assert all(len(line) <= WIDTH for line in lines), max(lines, key=len)
    assert (found.memory is None) == (not lines)
    if lines:
        assert "".join(lines).count("calibrated" if learned else "prior") >= 1


@pytest.mark.parametrize("name", ["explain-4070", "explain-no-device", "explain-fixed", "suggest-vram-12"])
def test_the_printed_lines_add_up_to_the_printed_total(name):
    text = (GOLDEN / f"{name}.txt").read_text(encoding="utf-8").split("Peak: ")[1]
    rows = [line[33:].split() for line in text.splitlines()[1:]]
    sizes = [
        float(row[0]) * {"GiB": 1024, "MiB": 1}[row[1]] for row in rows if len(row) > 1 and row[1] in {"GiB", "MiB"}
    ]
    total = next(size for size, line in zip(sizes, text.splitlines()[1:], strict=False) if "allocated" in line)
    parts = sizes[: sizes.index(total)]
    assert sum(parts) == pytest.approx(total, abs=0.006 * 1024 * len(parts))


def test_a_run_report(capsys, run_spec):
    spec = run_spec(
        n_layer=1, n_head=1, n_embd=16, vocab_size=64, context_length=16, micro_batch_size=2, compile=False,
        dtype="float32", max_steps=5,
    )  # fmt: skip
    Path("spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    show(run_lines(fwplan.run("spec.json", device="cpu", dry_run=True)))
    text = capsys.readouterr().out
    assert "predicted" in text
    assert "live tensors" in text
    assert "learned: for " in text
    assert "fwplan run spec.json" in text


def test_a_dry_run_of_many_micro_batches_says_what_it_took(capsys, run_spec):
    spec = run_spec(
        n_layer=1, n_head=1, n_embd=16, vocab_size=64, context_length=16, micro_batch_size=2, compile=False,
        dtype="float32", max_steps=5, grad_accum_steps=32,
    )  # fmt: skip
    Path("spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    report = fwplan.run("spec.json", device="cpu", dry_run=True)
    assert report.measurement.tokens_per_second == pytest.approx(2 * 2 * 16 / report.measurement.step_seconds)
    assert report.predicted.step_seconds[1] < report.before.step_seconds[1] / 8
    show(run_lines(report))
    text = capsys.readouterr().out
    assert "steps of 2 micro-batches" in text
    assert "a whole step takes" in text


@pytest.mark.parametrize(
    ("value", "said"),
    [(0, "0"), (3.07e-05, "0.0000307"), (0.0955, "0.0955"), (30.34, "30.3"), (99.96, "100"), (1234.5, "1,234")],
)
def test_three_digits_have_no_exponent(value, said):
    assert plain(value) == said


def test_next_to_no_energy_is_said_so():
    assert energy(3.07e-05, 7.23e-05) == "under 0.01 kWh"
    assert energy(0.004, 0.012) == "0.004-0.012 kWh"
    assert energy(9.36, 22.0) == "9.36-22 kWh"


def test_one_of_a_thing_is_singular():
    assert [counted(n, "step") for n in (0, 1, 2, 1200)] == ["0 steps", "1 step", "2 steps", "1,200 steps"]
