"""torch.compile's rules on the tape: when a value becomes memory, what is saved, and that nothing is left over."""

import pytest

from fwplan.estimators.memory import estimate_memory
from fwplan.spec import RunSpec
from fwplan.tape.dtypes import BFLOAT16, FLOAT32
from fwplan.tape.fused import Fused
from fwplan.tape.graph import GraphTape
from fwplan.tape.phases import Phase
from fwplan.tape.size import ONE, ZERO, letter

N, C, F = (letter(name) for name in "NCF")
STAYS = {
    "weights", "AdamW moments", "step counts", "buffers", "batch", "positions", "gradients", "loss",
    "norm of all gradients", "cuBLAS workspaces", "rounding to 512 bytes",
}  # fmt: skip


@pytest.fixture
def ops():
    return Fused(GraphTape(FLOAT32, BFLOAT16, cuda=True), "flash", donated=False, padded=frozenset())


def alive(tape, name):
    """Return how many tensors of a name are alive."""
    return sum((event.tensors for event in tape.events if event.kind.name == name), ZERO)


def compiled(model, train, device):
    document = {"model": model, "train": {"micro_batch_size": 4, "compile": True} | train, "device": {"type": device}}
    return RunSpec.model_validate(document)


def product(ops, x, width=F, **names):
    return ops.linear(x, ops.tape.weight((width, x.shape[-1])), **names)


def test_a_pointwise_value_is_no_memory_until_a_product_reads_it(ops):
    x = product(ops, ops.tape.make("x", (N, C), BFLOAT16), keeps="inputs", makes="hidden")
    value = ops.activation(x, keeps="before", makes="after")
    assert alive(ops.tape, "after") is ZERO
    product(ops, value, keeps="after", makes="out")
    assert alive(ops.tape, "after") is ONE


def test_a_chain_keeps_what_it_starts_from(ops):
    x = product(ops, ops.tape.make("x", (N, C), BFLOAT16), keeps="inputs", makes="hidden")
    small = ops.pointwise(x, "over its cap")
    capped = ops.saturating(small, "capped")
    del x, small
    assert alive(ops.tape, "hidden") is ONE
    assert alive(ops.tape, "over its cap") is alive(ops.tape, "capped") is ZERO
    assert capped.edge is not None


def test_a_norms_output_is_cast_once_for_all_products_that_read_it(ops):
    x = product(ops, ops.tape.make("x", (N, C), BFLOAT16), keeps="inputs", makes="hidden")
    normal = ops.rms_norm(ops.cast(x, FLOAT32, "wide"), keeps="normalised")
    gate, up = (product(ops, normal, keeps="norm outputs", makes=name) for name in ("gate", "up"))
    assert alive(ops.tape, "norm outputs") is ONE
    assert alive(ops.tape, "normalised") is ONE
    assert gate.storage is not up.storage


def test_both_gradients_of_a_gate_are_written_by_one_kernel_and_one_over_what_comes(ops):
    x = ops.tape.make("x", (N, C), BFLOAT16)
    gate, up = (product(ops, x, keeps="inputs", makes=name) for name in ("gate", "up"))
    gated = ops.mul(ops.activation(gate, keeps="gate", makes="open"), up, keeps="up", makes="gated")
    del gate, up
    out = product(ops, gated, C, keeps="gated", makes="out")
    del gated
    edge, shape = out.edge, out.shape
    del out
    ops.tape.in_backward_graph = True
    ops.tape.backward(edge, ops.tape.make("ones", shape, BFLOAT16))
    wide = [event for event in ops.tape.events if event.kind.shape == (N, F) and event.kind.name.startswith("gradient")]
    most, now = 0, 0
    for event in wide:
        now += dict(event.tensors.terms).get((), 0)
        most = max(most, now)
    assert most == 2
    assert now == 0


@pytest.mark.parametrize("checkpoint_every", [0, 1, 3])
@pytest.mark.parametrize("architecture", ["gpt2", "llama", "pythia"])
@pytest.mark.parametrize("loss", ["full", "chunked"])
@pytest.mark.parametrize("attention", ["flash", "math"])
def test_a_compiled_step_leaves_nothing_over(architecture, checkpoint_every, loss, attention):
    how = {"checkpointing": "block", "checkpoint_every": checkpoint_every} if checkpoint_every else {}
    model = {"n_layer": 6, "n_head": 4, "n_embd": 256, "vocab_size": 4096, "context_length": 128}
    spec = compiled({"architecture": architecture} | model, {"loss": loss, "attention": attention, **how}, "cuda")
    lines = estimate_memory(spec).lines
    assert {line.name for line in lines if line.phases & Phase.OPTIMIZER_STEP} <= STAYS
    assert all(line.bytes >= 0 for line in lines)


# Peaks of real compiled steps of the trainer's own modules: profiler's allocations, oneDNN off, torch 2.13, CPU.
# The shape is (2, 256) tokens, width 128, 4 heads, vocabulary 128.
MEASURED = {
    ("llama", 3, "float32"): (27_286_660, 0.002),
    ("llama", 2, "bfloat16"): (14_557_280, 0.015),
    ("pythia", 2, "bfloat16"): (11_100_796, 0.04),
    ("nanochat", 2, "bfloat16"): (11_966_524, 0.03),
}


@pytest.mark.parametrize("row", MEASURED, ids=str)
def test_other_architectures_compiled_are_near_to_real_steps(row):
    (architecture, depth, dtype), (measured, error) = row, MEASURED[row]
    model = {"n_layer": depth, "n_head": 4, "n_embd": 128, "vocab_size": 128, "context_length": 256}
    spec = compiled({"architecture": architecture} | model, {"micro_batch_size": 2, "dtype": dtype}, "cpu")
    assert estimate_memory(spec).allocated_bytes == pytest.approx(measured, rel=error)
