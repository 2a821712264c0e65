"""The closed form: what it adds up to, how it moves, and that real CPU steps take what it says."""

from itertools import chain

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimators.memory import estimate_memory, unsupported
from fwplan.estimators.parameters import count_parameters
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec
from fwplan.tape.phases import Phase
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.step import build_trainer, train_step
from fwplan.units import GIB

NANOGPT = {"grad_accum_steps": 32, "compile": False, "returns_logits": True, "keeps_logits": True}


@st.composite
def specs(draw):
    heads = draw(st.integers(1, 8))
    model = ModelSpec(
        n_layer=draw(st.integers(1, 12)),
        n_head=heads,
        n_embd=heads * draw(st.integers(1, 32)),
        vocab_size=draw(st.integers(2, 60_000)),
        context_length=draw(st.integers(1, 512)),
        bias=draw(st.booleans()),
        tied_embeddings=draw(st.booleans()),
    )
    full = draw(st.booleans())
    returns = full and draw(st.booleans())
    train = TrainSpec(
        micro_batch_size=draw(st.integers(1, 16)),
        grad_accum_steps=draw(st.integers(1, 3)),
        dtype=draw(st.sampled_from(["float32", "bfloat16", "float16", "pure_bfloat16"])),
        compile=draw(st.booleans()),
        loss="full" if full else "chunked",
        returns_logits=returns,
        keeps_logits=returns and draw(st.booleans()),
        checkpointing=draw(st.sampled_from(["none", "block"])),
        checkpoint_every=draw(st.integers(1, 4)),
        optimizer_impl=draw(st.sampled_from(["fused", "foreach", "for_loop"])),
    )
    return RunSpec(model=model, train=train, device=DeviceSpec(type=draw(st.sampled_from(["cuda", "cpu"]))))


@given(specs())
def test_the_lines_of_each_phase_add_up_and_the_peak_is_the_largest(spec):
    memory = estimate_memory(spec)
    for phase in memory.totals:
        assert memory.totals[phase] == sum(line.bytes for line in memory.lines if phase & line.phases)
    assert memory.allocated_bytes == max(memory.totals.values()) == memory.totals[memory.phase]
    assert all(line.bytes >= 0 and isinstance(line.bytes, int) for line in memory.lines)
    low, high = memory.allocated_interval
    assert 0 < low <= memory.allocated_bytes <= high
    for phase in memory.totals:
        names = [line.name for line in memory.lines if phase & line.phases]
        assert len(set(names)) == len(names)


@given(specs())
def test_a_larger_micro_batch_never_needs_less(spec):
    larger = spec.train.model_copy(update={"micro_batch_size": spec.train.micro_batch_size + 1})
    after = spec.model_copy(update={"train": larger})
    assert estimate_memory(after).allocated_bytes >= estimate_memory(spec).allocated_bytes


@given(specs(), st.integers(2, 50))
def test_accumulation_beyond_two_micro_steps_changes_nothing(spec, steps):
    def at(count):
        train = spec.train.model_copy(update={"grad_accum_steps": count})
        return estimate_memory(spec.model_copy(update={"train": train})).allocated_bytes

    assert at(steps) == at(2) >= at(1)


@given(specs())
def test_fp16_and_bf16_take_the_same_bytes(spec):
    def at(dtype):
        return estimate_memory(
            spec.model_copy(update={"train": spec.train.model_copy(update={"dtype": dtype})})
        ).allocated_bytes

    assert at("float16") == at("bfloat16")


# Traced op by op from nanoGPT's own model.py (3adf61e) and loop, with autocast as torch 2.13 has it on CUDA.
TRACED = {
    "C1": ((12, 12, 384, 16), 12.50),
    "C3": ((12, 12, 576, 16), 14.40),
    "C3 at 12": ((12, 12, 576, 12), 11.13),
    "C4": ((10, 10, 640, 32), 26.99),
    "C5": ((12, 12, 768, 32), 30.82),
    "C6": ((6, 6, 384, 32), 21.57),
}


@pytest.mark.parametrize("name", TRACED)
def test_nanogpt_eager_peaks(name, run_spec):
    (depth, heads, width, batch), gib = TRACED[name]
    spec = run_spec(n_layer=depth, n_head=heads, n_embd=width, micro_batch_size=batch, **NANOGPT)
    assert estimate_memory(spec).allocated_bytes / GIB == pytest.approx(gib, rel=0.002)
    assert estimate_memory(spec).phase is Phase.LOSS_BACKWARD


def test_the_logits_family_is_most_of_nanogpt_at_width_576(run_spec):
    memory = estimate_memory(run_spec(n_embd=576, **NANOGPT))
    family = [line for line in memory.lines if line.shape == (16, 1024, 50304) and line.phases & memory.phase]
    # bf16 logits in the loop's hands and their log-probabilities, these in fp32 for nll_loss, and that one's gradient
    assert sum(line.bytes for line in family) == (2 + 2 + 4 + 4) * 16 * 1024 * 50304
    assert sum(line.bytes for line in family) / memory.allocated_bytes == pytest.approx(0.64, abs=0.01)
    released = estimate_memory(run_spec(n_embd=576, **NANOGPT | {"keeps_logits": False}))
    assert memory.allocated_bytes - released.allocated_bytes == 2 * 16 * 1024 * 50304


def test_nanogpts_forward_holds_its_embeddings_and_x_while_the_loss_is_taken(run_spec):
    shape = {"n_layer": 6, "n_head": 6, "n_embd": 384, "vocab_size": 8192, "micro_batch_size": 8, "compile": False}
    tokens = 8 * 1024

    def loss_forward(**train):
        return estimate_memory(run_spec(**shape, **train, device="cuda")).totals[Phase.LOSS_FORWARD]

    held = loss_forward(returns_logits=True) - loss_forward()
    logits = -2 * tokens * 8192  # its log-softmax is taken in bf16
    assert held == 8 * tokens * 384 + 4 * 1024 * 384 + logits


@given(specs(), st.integers(1, 4))
def test_the_low_end_never_falls_with_the_batch_nor_below_what_no_run_does_without(spec, more):
    train = spec.train.model_copy(update={"micro_batch_size": spec.train.micro_batch_size + more})
    low, larger = (estimate_memory(s).allocated_interval[0] for s in (spec, spec.model_copy(update={"train": train})))
    assert larger >= low
    size = 2 if spec.train.dtype == "pure_bfloat16" else 4
    norm = 2 * size * spec.model.n_embd  # the final one's gradient is no line of a compiled run's
    assert low >= 4 * size * count_parameters(spec.model).total - norm  # weights, gradients, two moments


def test_fully_sharded_is_undecidable_with_a_reason(run_spec):
    assert "fsdp" in unsupported(run_spec(parallel="fsdp", world_size=8))
    assert unsupported(run_spec()) is None


# (model, train): shapes and modes whose peaks fall in different phases.
REAL = {
    "logits dominate": ({"n_layer": 2, "n_head": 2, "n_embd": 64, "vocab_size": 20_000}, {"micro_batch_size": 2}),
    "blocks dominate": ({"n_layer": 4, "n_head": 4, "n_embd": 128, "vocab_size": 128}, {"micro_batch_size": 8}),
    "accumulating, bias": (
        {"n_layer": 3, "n_head": 3, "n_embd": 96, "vocab_size": 2000, "bias": True},
        {"micro_batch_size": 2, "grad_accum_steps": 2},
    ),
    "few tokens, tied": ({"n_layer": 2, "n_head": 2, "n_embd": 256, "vocab_size": 20_000}, {"sequence_length": 16}),
    "few tokens, untied": (
        {"n_layer": 2, "n_head": 2, "n_embd": 256, "vocab_size": 20_000, "tied_embeddings": False},
        {"sequence_length": 16, "grad_accum_steps": 2},
    ),
    "chunked": (
        {"n_layer": 4, "n_head": 2, "n_embd": 128, "vocab_size": 8192},
        {"micro_batch_size": 4, "loss": "chunked", "loss_chunk_tokens": 128},
    ),
    "checkpointed, chunked": (
        {"n_layer": 6, "n_head": 2, "n_embd": 128, "vocab_size": 1024},
        {"micro_batch_size": 8, "loss": "chunked", "checkpointing": "block", "loss_chunk_tokens": 64},
    ),
    "every second block": (
        {"n_layer": 6, "n_head": 2, "n_embd": 128, "vocab_size": 512},
        {"micro_batch_size": 8, "checkpointing": "block", "checkpoint_every": 2},
    ),
    "for-loop AdamW": (
        {"n_layer": 2, "n_head": 2, "n_embd": 128, "vocab_size": 20_000},
        {"sequence_length": 8, "optimizer_impl": "for_loop"},
    ),
    "for-loop AdamW, wide blocks": (
        {"n_layer": 2, "n_head": 2, "n_embd": 256, "vocab_size": 64},
        {"sequence_length": 8, "optimizer_impl": "for_loop"},
    ),
    "for-loop AdamW, untied": (
        {"n_layer": 2, "n_head": 2, "n_embd": 64, "vocab_size": 4000, "tied_embeddings": False},
        {"sequence_length": 8, "optimizer_impl": "for_loop"},
    ),
    "foreach AdamW": (
        {"n_layer": 6, "n_head": 2, "n_embd": 256, "vocab_size": 64},
        {"sequence_length": 8, "optimizer_impl": "foreach"},
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", REAL)
def test_a_real_cpu_step_takes_what_is_predicted(name, dtype):
    model, train = REAL[name]
    spec = RunSpec(
        model=ModelSpec(context_length=128, **model),
        train=TrainSpec(**({"micro_batch_size": 1, "compile": False, "dtype": dtype} | train)),
        device=DeviceSpec(type="cpu"),
    )
    predicted, measured = estimate_memory(spec), _measured(spec)
    assert predicted.allocated_bytes == pytest.approx(measured, rel=0.01)


def _measured(spec):
    torch.manual_seed(0)
    trainer = build_trainer(spec, torch.device("cpu"))
    shape = (spec.train.micro_batch_size, spec.sequence_length)

    def batches():
        for _ in range(spec.train.grad_accum_steps):
            yield torch.randint(spec.model.vocab_size, shape), torch.randint(spec.model.vocab_size, shape)

    train_step(trainer, batches())
    moments = (t for state in trainer.optimizer.state.values() for t in state.values())
    alive = chain(trainer.model.parameters(), moments)
    return measure_live_memory(lambda: train_step(trainer, batches()), alive).peak_bytes
