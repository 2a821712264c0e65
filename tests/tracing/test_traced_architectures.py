"""The closed form of llama and pythia against the trace of their modules: a slice of the benchmark's drawn specs.

benchmarks/closed_form.py --architecture draws 100 of each.
"""

from __future__ import annotations

import pytest

from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.parameters import count_parameters
from fwplan.spec import RunSpec
from fwplan.tracing.bundled import trace_spec

SMALL = {"n_layer": 3, "n_head": 4, "n_embd": 128, "vocab_size": 1000, "context_length": 128}
BLOCKS = {"checkpointing": "block", "checkpoint_every": 2}
CHUNKED = {"loss": "chunked", "loss_chunk_tokens": 128}
FEW_TOKENS = {"sequence_length": 16, "micro_batch_size": 1}
LLAMA = {"architecture": "llama"}
GROUPED = LLAMA | {"n_kv_head": 2, "qk_norm": True}
ONE_HEAD = LLAMA | {"n_kv_head": 1, "head_width": 40}  # of keys and values
BIASED = LLAMA | {"attention_bias": "all", "mlp_bias": True, "tied_embeddings": True, "dropout": 0.1}
PYTHIA = {"architecture": "pythia"}
CASES = {
    "llama": (LLAMA, {}),
    "llama, fp32, chunked": (LLAMA, CHUNKED | {"dtype": "float32"}),
    "llama, one layer, pure bf16": (LLAMA | {"n_layer": 1, "vocab_size": 65}, {"dtype": "pure_bfloat16"}),
    "llama, few tokens": (LLAMA, FEW_TOKENS | {"grad_accum_steps": 2}),
    "grouped": (GROUPED, {}),
    "grouped, fp32: heads are repeated": (GROUPED | {"vocab_size": 65}, {"dtype": "float32"}),
    "grouped, efficient": (GROUPED | {"vocab_size": 65}, {"attention": "efficient"}),
    "grouped, formula": (GROUPED, {"attention": "math"}),
    "grouped, checkpointed": (GROUPED | {"n_layer": 5, "vocab_size": 65}, BLOCKS),
    "grouped, a processor": (GROUPED | {"vocab_size": 65}, {"device": "cpu"}),
    "one key-value head, efficient": (ONE_HEAD | {"vocab_size": 65}, {"attention": "efficient"}),
    "biases, tied, dropout": (BIASED, {"dtype": "float16"}),
    "biases, tied, dropout, few tokens": (BIASED, FEW_TOKENS | {"optimizer_impl": "foreach"}),
    "pythia": (PYTHIA, {}),
    "pythia, fp32, all of a head turns": (PYTHIA | {"rotary_share": 1.0, "vocab_size": 65}, {"dtype": "float32"}),
    "pythia, formula, dropout": (PYTHIA | {"dropout": 0.1, "tied_embeddings": True}, {"attention": "math"}),
    "pythia, checkpointed, chunked": (PYTHIA | {"n_layer": 5, "n_hidden": 200}, BLOCKS | CHUNKED),
    "pythia, a processor": (PYTHIA | {"vocab_size": 65}, {"device": "cpu", "dtype": "pure_bfloat16"}),
    "a larger evaluation": (LLAMA | {"vocab_size": 65}, {"eval_micro_batch_size": 16}),
}


@pytest.mark.parametrize("name", CASES)
def test_the_closed_form_is_the_traced_peak(name):
    model, train = CASES[name]
    device = train.get("device", "cuda")
    spec = RunSpec.model_validate(
        {
            "model": SMALL | model,
            "train": {"micro_batch_size": 4, "compile": False} | {k: v for k, v in train.items() if k != "device"},
            "device": {"type": device},
        }
    )
    traced = trace_spec(spec).peak_allocated_bytes
    scalars = 4096 if device == "cuda" else 256  # the loss's own: four bytes that a GPU rounds up to 512
    assert abs(estimate_memory(spec).step_bytes - traced) <= scalars


def test_shared_heads_save_nothing_where_the_kernel_wants_them_repeated():
    """bf16's FlashAttention takes fewer key-value heads; fp32's kernel takes copies of them, which backward keeps."""

    def saved(dtype):
        own, shared = (
            RunSpec.model_validate(
                {
                    "model": SMALL | {"vocab_size": 65} | model,
                    "train": {"micro_batch_size": 8, "compile": False, "dtype": dtype},
                }
            )
            for model in (LLAMA, LLAMA | {"n_kv_head": 2})
        )
        weights = 4 * 4 * (count_parameters(own.model).total - count_parameters(shared.model).total)
        return estimate_memory(own).step_bytes - estimate_memory(shared).step_bytes - weights

    keys_and_values = 2 * 8 * 128 * 64  # elements of a block's that are not there: half of them
    # of all blocks but one: FlashAttention's backward makes gradients for every head, then sums them
    assert saved("bfloat16") >= 2 * (SMALL["n_layer"] - 1) * keys_and_values
    assert saved("float32") <= 4 * keys_and_values
