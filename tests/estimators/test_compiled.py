"""The closed form of compiled steps: against the graphs that AOTAutograd partitions, and against real CPU steps."""

import importlib
from functools import cache

import pytest
import torch
from test_memory import _measured

from fwplan.errors import FwplanError
from fwplan.estimators.memory import estimate_memory
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.tape.phases import Phase
from fwplan.train.device import check_supported

CPU = torch.device("cpu")


@pytest.fixture
def compiled_graph(monkeypatch):
    monkeypatch.syspath_prepend("benchmarks")
    module = importlib.import_module("compiled_graph")
    monkeypatch.setattr(module, "forward_graph", _captured(module.forward_graph))
    return module


@cache
def _captured(capture):
    return cache(capture)  # a graph is the same for every test that asks for it


# benchmarks/compiled_graph.py reads the closed form's slopes by least squares over drawn shapes, which a tape's widest
# moments are not straight in: it has to read one moment's matrix instead. Real steps below hold the compiled forms.
_NOT_READ = pytest.mark.skip(reason="compiled_graph.py does not read slopes from the tape's moments yet")


@_NOT_READ
@pytest.mark.parametrize("mode", ["bfloat16, flash on CUDA", "checkpointed"])
def test_the_graph_saves_what_the_closed_form_says(compiled_graph, mode):
    row = compiled_graph.compare(mode)
    assert not row["disagree"]
    assert row["error_at_another_shape"] == pytest.approx(0, abs=0.001)
    assert row["graph"]["N*C*L"] == (36 if mode.startswith("bfloat16") else 4)
    assert row["graph"]["N*V"] == 2


@_NOT_READ
def test_a_graph_that_disagrees_is_seen(compiled_graph, monkeypatch):
    monkeypatch.setattr(compiled_graph, "BESIDE", compiled_graph.BESIDE | {"logits"})
    row = compiled_graph.compare("checkpointed")
    assert row["disagree"] == ["N*V", "total"]


# Wide against their tokens: oneDNN's scratch for half-precision matmuls, which nobody counts, is small beside the rest.
REAL = {
    "bfloat16, few tokens": ({"n_layer": 1, "vocab_size": 4096}, {"dtype": "bfloat16", "sequence_length": 16}),
    "float32, logits dominate": ({"n_layer": 1, "vocab_size": 4096}, {"dtype": "float32"}),
    "float32, checkpointed": ({"n_layer": 2, "vocab_size": 96}, {"dtype": "float32", "checkpointing": "block"}),
    "bfloat16, accumulating, untied, bias": (
        {"n_layer": 1, "vocab_size": 2000, "tied_embeddings": False, "bias": True},
        {"dtype": "bfloat16", "grad_accum_steps": 2, "sequence_length": 16},
    ),
}


@pytest.mark.parametrize("name", REAL)
def test_a_real_compiled_cpu_step_takes_what_is_predicted(name):
    model, train = REAL[name]
    spec = RunSpec(
        model=ModelSpec(n_head=2, n_embd=128, context_length=128, **model),
        train=TrainSpec(**({"micro_batch_size": 4, "compile": True} | train)),
        device=DeviceSpec(type="cpu"),
    )
    try:
        check_supported(spec, CPU)
    except FwplanError as error:
        pytest.skip(str(error))
    predicted, measured = estimate_memory(spec), _measured(spec)
    torch.compiler.reset()
    assert predicted.allocated_bytes == pytest.approx(measured, rel=0.06)


def test_the_tied_fp32_head_gradient_waits_for_the_end_on_cpu():
    def phases(device):
        spec = RunSpec(
            model=ModelSpec(n_layer=2, n_head=2, n_embd=64, vocab_size=1024),
            train=TrainSpec(micro_batch_size=1, dtype="float32"),
            device=DeviceSpec(type=device),
        )
        return {
            phase for line in estimate_memory(spec).lines if line.name == "gradient: logits" for phase in line.phases
        }

    assert Phase.END_OF_BACKWARD in phases("cpu")
    assert Phase.END_OF_BACKWARD not in phases("cuda")
