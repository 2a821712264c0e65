"""`fwplan trace script.py:step`: anybody's script, run without data; and what it says where that cannot be."""

import json
import sys

import pytest
import torch
from torch import nn

import fwplan
from fwplan.cli import main
from fwplan.errors import FwplanError
from fwplan.tracing.script import trace_script

SCRIPT = """
import torch
import torch.nn.functional as F
from torch import nn

device = "cuda"
model = nn.Sequential(nn.Embedding(500, 64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 500)).to(device)
{compiled}
optimizer = torch.optim.AdamW(model.parameters(), fused=True)
batch = torch.randint(500, (4, 32), device=device)


def step(model, optimizer):
    loss = F.cross_entropy(model(batch).flatten(0, 1), batch.flatten())
    loss.backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def by_globals():
    step(model, optimizer)


def unknown(model, optim):
    pass


def broken():
    return undefined_name


if __name__ == "__main__":
    print(torch.load("no such data"))
"""


@pytest.fixture
def script(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SCRIPT.format(compiled=""))
    return path


def _by_hand():
    """Return the trace of the same step by the Python API, of a model with data."""
    model = nn.Sequential(nn.Embedding(500, 64), nn.Linear(64, 64), nn.GELU(), nn.Linear(64, 500))
    batch = torch.randint(500, (4, 32))

    def step(model, optimizer):
        loss = nn.functional.cross_entropy(model(batch).flatten(0, 1), batch.flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return fwplan.trace(model, step, torch.optim.AdamW(model.parameters(), fused=True))


@pytest.mark.parametrize("function", ["step", "by_globals"])
def test_a_script_is_traced_as_its_module_is_by_the_api(script, function):
    found = trace_script(script, function)
    assert abs(found.peak_allocated_bytes - _by_hand().peak_allocated_bytes) <= 1024  # the batch lies beside


def test_compiling_is_left_out(script):
    plain = trace_script(script, "step")
    script.write_text(SCRIPT.format(compiled="model = torch.compile(model)"))
    assert trace_script(script, "step").peak_allocated_bytes == plain.peak_allocated_bytes


def test_a_model_larger_than_this_machine_is_traced(script):
    script.write_text(script.read_text().replace("500", "500_000_000"))
    assert trace_script(script, "step").peak_allocated_bytes > 2**39


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("nothing", "no function 'nothing' in the script; it has step, by_globals, unknown, broken"),
        ("unknown", "unknown takes optim, which the script does not define"),
        ("broken", "the step fails: NameError: name 'undefined_name' is not defined"),
    ],
)
def test_what_cannot_be_traced_is_said(script, function, said):
    with pytest.raises(FwplanError) as raised:
        trace_script(script, function)
    assert raised.value.message == said
    assert str(script) in raised.value.where


def test_a_script_that_fails_is_said_with_its_line(script):
    script.write_text("import torch\nbatches = torch.load('no such file')\n")
    with pytest.raises(FwplanError, match="the script fails: FileNotFoundError") as raised:
        trace_script(script, "step")
    assert raised.value.where == f"{script}:2"


def test_two_models_are_told_apart_by_the_steps_arguments(script):
    script.write_text(script.read_text() + "\nother = nn.Linear(64, 64)\n")
    with pytest.raises(FwplanError, match="could each be the one to trace"):
        trace_script(script, "by_globals")
    assert trace_script(script, "step").peak_allocated_bytes > 0


@pytest.fixture
def typed(capsys, monkeypatch):
    """Return a function that types `fwplan trace` and returns the exit code and what is said."""

    def type_it(*words):
        monkeypatch.setattr(sys, "argv", ["fwplan", "trace", *words])
        with pytest.raises(SystemExit) as left:
            main()
        said = capsys.readouterr()
        return left.value.code, said.out + said.err

    return type_it


def test_the_command_judges_a_card_and_writes_a_snapshot(script, tmp_path, typed):
    snapshot = tmp_path / "step.pickle"
    code, said = typed(f"{script}:step", "--gpu", "4070", "--snapshot", str(snapshot))
    assert code == 0
    assert "so by replay it fits on GeForce RTX 4070" in said
    assert snapshot.stat().st_size > 0


def test_the_command_prints_one_document(script, typed):
    code, said = typed(f"{script}:step", "--json")
    document = json.loads(said)
    assert code == 0
    assert document["peak_allocated_bytes"] == trace_script(script, "step").peak_allocated_bytes
    assert document["verdict"] is None


def test_what_does_not_fit_ends_with_its_exit_code(script, typed):
    script.write_text(script.read_text().replace("500", "500_000_000"))
    assert typed(f"{script}:step", "--vram", "12")[0] == 3


def test_a_place_without_a_function_is_refused(typed):
    code, said = typed("mine.py")
    assert code == 2
    assert "names no function" in said
