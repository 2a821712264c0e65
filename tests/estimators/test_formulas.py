"""Every line says its bytes in letters: the formula is arithmetic, and comes to them exactly."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplan.estimation.estimate import estimate
from fwplan.estimators.memory import estimate_memory, evaluation_memory
from fwplan.estimators.moments.mode import numbers_of
from fwplan.learning.measurement import Measurement
from fwplan.machine.target import named_gpu
from fwplan.spec import DeviceSpec
from fwplan.view.terminal.memory import memory_lines as printed

FIELDS = {
    "n_layer": [1, 2, 3, 7], "vocab_size": [65, 4096, 50257, 50304], "context_length": [32, 100, 512],
    "bias": [False, True], "tied_embeddings": [False, True], "dropout": [0.0, 0.1],
    "micro_batch_size": [1, 3, 16], "sequence_length": [None, 32], "grad_accum_steps": [1, 4],
    "dtype": ["float32", "bfloat16", "float16", "pure_bfloat16"], "attention": ["flash", "efficient", "math"],
    "checkpointing": ["none", "block"], "checkpoint_every": [1, 2, 3], "momentum": [0.0, 0.9],
    "weight_decay": [0.0, 0.1], "eval_micro_batch_size": [None, 5, 20],
}  # fmt: skip
TOGETHER = [
    [{"n_head": heads, "n_embd": heads * size} for heads in (1, 3, 8) for size in (4, 24, 64)],
    [
        {}, {"returns_logits": True}, {"returns_logits": True, "keeps_logits": True}, {"loss": "chunked"},
        {"loss": "chunked", "loss_chunk_tokens": 48},
    ],
    [
        {"optimizer": "adamw_8bit"},
        *({"optimizer": o, "optimizer_impl": i} for o in ("adamw", "sgd") for i in ("fused", "foreach", "for_loop")),
    ],
    [{}, {"parallel": "ddp", "world_size": 3}, {"parallel": "zero1", "world_size": 3}],
    [{"device": DeviceSpec(type="cpu")}, *({"device": DeviceSpec(name=n)} for n in (None, "H100 SXM5", "MI300X"))],
]  # fmt: skip


def value(formula, spec):
    """Return what a formula comes to: letters and numbers, and nothing else."""
    return eval(formula, {"__builtins__": {}}, numbers_of(spec))


@settings(max_examples=300)
@given(
    st.fixed_dictionaries({name: st.sampled_from(values) for name, values in FIELDS.items()}),
    st.tuples(*map(st.sampled_from, TOGETHER)),
)
@pytest.mark.parametrize("compiled", [True, False])
def test_every_formula_comes_to_its_bytes(run_spec, compiled, fields, together):
    for more in together:
        fields = fields | more
    spec = run_spec(compile=compiled, **fields)
    for line in estimate_memory(spec).lines:
        assert value(line.formula, spec) == line.bytes, line


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("loss", ["full", "chunked"])
def test_every_formula_of_an_evaluation_alone_comes_to_its_bytes(run_spec, loss, compiled):
    spec = run_spec(loss=loss, compile=compiled)
    for line in evaluation_memory(spec).lines:
        assert value(line.formula, spec) == line.bytes, line


def test_the_formula_of_a_measured_correction_comes_to_its_bytes(run_spec):
    before = estimate(run_spec(), named_gpu("4070"), measurements=[])
    peak = round(1.02 * before.memory.allocated_bytes)
    run = Measurement(
        spec=before.spec, device_name="NVIDIA GeForce RTX 4070", device_type="cuda", torch_version="2.13.0",
        fwplan_version="0", measured_at="2026-01-01T00:00:00+00:00", tokens_per_second=1.0, timed_steps=5,
        predicted_allocated_bytes=before.memory.allocated_bytes, peak_allocated_bytes=peak, peak_reserved_bytes=peak,
        device_used_bytes=peak + 2**28, step_seconds=1.0,
    )  # fmt: skip
    after = estimate(before.spec, before.target, measurements=[run])
    (line,) = (line for line in after.lines if line.status == "calibrated")
    assert value(line.formula, after.spec) == line.bytes == pytest.approx(peak - before.memory.allocated_bytes, abs=1)


def test_the_tokens_of_an_evaluation_are_printed_as_a_number(run_spec):
    spec = run_spec(n_layer=2, micro_batch_size=1, eval_micro_batch_size=64, vocab_size=4096)
    text = "\n".join(printed(estimate(spec, named_gpu("4070"), measurements=[])))
    assert "Peak: evaluation" in text
    assert "4*2*768*64*1024" in text
