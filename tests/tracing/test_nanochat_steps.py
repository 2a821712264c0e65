"""nanochat's closed form against the trace, and both against real CPU steps of its module.

benchmarks/closed_form.py --architecture nanochat draws 100 such specs.
"""

import pytest
import torch

from fwplan.estimators.memory import estimate_memory
from fwplan.spec import RunSpec
from fwplan.tracing.bundled import trace_spec
from tests.tracing.test_real_steps import real_peak

SMALL = {
    "architecture": "nanochat", "n_layer": 3, "n_head": 4, "n_embd": 128, "vocab_size": 500, "context_length": 256,
}  # fmt: skip
FEW_TOKENS = {"sequence_length": 16, "micro_batch_size": 1}
CASES = {
    "fp32": ({}, {"dtype": "float32"}),
    "bf16, every layer long, no padded rows": ({"window_pattern": "L", "vocab_size": 512}, {}),
    "bf16, masks whose rows are padded": ({"vocab_size": 64}, {"sequence_length": 147}),
    "fp16, accumulating": ({}, {"dtype": "float16", "grad_accum_steps": 3}),
    "pure bf16, four layers": ({"n_layer": 4, "vocab_size": 64}, {"dtype": "pure_bfloat16"}),
    "efficient attention, grouped queries": ({"n_kv_head": 2, "vocab_size": 64}, {"attention": "efficient"}),
    "attention by formula": ({"vocab_size": 64}, {"attention": "math"}),
    "checkpointed, an evaluation twice as large": (
        {"vocab_size": 64},
        {"checkpointing": "block", "eval_micro_batch_size": 8},
    ),
    "few tokens, one layer": ({"n_layer": 1, "vocab_size": 8192}, FEW_TOKENS),
    "few tokens, foreach, types by turns": ({"vocab_size": 8192}, FEW_TOKENS | {"optimizer_impl": "foreach"}),
    "few tokens, SGD": ({"vocab_size": 8192}, FEW_TOKENS | {"optimizer": "sgd", "optimizer_impl": "foreach"}),
}
OF_CPU = ["fp32", "bf16, masks whose rows are padded", "checkpointed, an evaluation twice as large"]


def spec_of(name, device):
    model, train = CASES[name]
    train = {"micro_batch_size": 4, "compile": False} | train
    return RunSpec.model_validate({"model": SMALL | model, "train": train, "device": {"type": device}})


@pytest.mark.parametrize("name", CASES)
def test_the_closed_form_of_a_nanochat_is_the_traced_peak(name):
    spec = spec_of(name, "cuda")
    assert estimate_memory(spec).step_bytes == pytest.approx(trace_spec(spec).peak_allocated_bytes, rel=1e-4)


@pytest.mark.parametrize("name", OF_CPU)
def test_a_real_step_of_a_nanochat_takes_what_is_said(name):
    spec = spec_of(name, "cpu")
    torch.set_num_threads(1)
    assert estimate_memory(spec).step_bytes == pytest.approx(real_peak(spec), rel=5e-3)
