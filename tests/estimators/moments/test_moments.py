"""A mode's moments, with letters: the step that torch runs on a processor, but for the loss's own scalars."""

import pytest

from fwplan.estimators.memory import estimate_memory
from fwplan.estimators.moments.matrix import moments_of
from fwplan.estimators.moments.mode import mode_of, numbers_of
from fwplan.tape.phases import Phase
from fwplan.tracing.bundled import trace_spec

SMALL = {"n_head": 2, "n_embd": 64, "vocab_size": 300, "context_length": 64, "micro_batch_size": 4}
BLOCKS = {"checkpointing": "block", "vocab_size": 40}
CASES = {
    "one layer, bf16": {"n_layer": 1},
    "two layers, fp32": {"n_layer": 2, "dtype": "float32"},
    "three layers, fp32, bias": {"n_layer": 3, "dtype": "float32", "bias": True},
    "bf16, untied, accumulating": {"n_layer": 5, "tied_embeddings": False, "grad_accum_steps": 2},
    "pure bf16, dropout": {"n_layer": 4, "dtype": "pure_bfloat16", "dropout": 0.1},
    "by formula, dropout": {"n_layer": 2, "attention": "math", "dropout": 0.1, "vocab_size": 40},
    "chunked, fp32": {"n_layer": 3, "loss": "chunked", "loss_chunk_tokens": 64, "dtype": "float32"},
    "chunked, few tokens": {"n_layer": 3, "loss": "chunked", "micro_batch_size": 1, "sequence_length": 8},
    "recomputed, one layer": {"n_layer": 1, **BLOCKS},
    "recomputed": {"n_layer": 5, **BLOCKS},
    "every second": {"n_layer": 5, "checkpoint_every": 2, **BLOCKS},
    "every second, topmost kept": {"n_layer": 6, "checkpoint_every": 2, **BLOCKS},
    "every third of two": {"n_layer": 2, "checkpoint_every": 3, **BLOCKS},
    "every third of nine, bias": {"n_layer": 9, "checkpoint_every": 3, "bias": True, **BLOCKS},
    "for loop, few tokens": {"n_layer": 4, "optimizer_impl": "for_loop", "micro_batch_size": 1, "sequence_length": 8},
    "SGD foreach, few tokens": {
        "n_layer": 3, "optimizer": "sgd", "optimizer_impl": "foreach", "micro_batch_size": 1, "sequence_length": 8,
    },
    "nanoGPT's loop": {"n_layer": 3, "returns_logits": True, "keeps_logits": True, "vocab_size": 65},
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_processors_step_is_the_traced_one_to_the_byte(run_spec, name):
    spec = run_spec(**SMALL | {"compile": False} | CASES[name], device="cpu")
    assert abs(estimate_memory(spec).step_bytes - trace_spec(spec).peak_allocated_bytes) <= 16


@pytest.mark.parametrize("every", [1, 2, 3])
def test_no_moment_inside_blocks_that_are_not_run_counts(run_spec, every):
    spec = run_spec(n_layer=1, compile=False, checkpointing="block", checkpoint_every=every)
    moments = moments_of(mode_of(spec, evaluates=False))
    assert any(moments.runs)  # there are such moments
    assert Phase.MIDDLE_BLOCKS_BACKWARD not in estimate_memory(spec).totals
    deep = run_spec(n_layer=24, n_embd=64, n_head=1, vocab_size=8, micro_batch_size=64, compile=False)
    assert max(estimate_memory(deep).totals) > Phase.MIDDLE_BLOCKS_BACKWARD


def test_a_mode_is_run_once_whatever_the_sizes_are(run_spec):
    one, other = (run_spec(n_layer=depth, n_embd=64 * depth, n_head=depth, compile=False) for depth in (2, 30))
    assert moments_of(mode_of(one, evaluates=False)) is moments_of(mode_of(other, evaluates=False))
    assert numbers_of(one) != numbers_of(other)


def test_a_deeper_model_needs_the_same_more_for_each_block(run_spec):
    peaks = [estimate_memory(run_spec(n_layer=depth, compile=False)).allocated_bytes for depth in (8, 9, 10, 20)]
    assert peaks[1] - peaks[0] == peaks[2] - peaks[1] == (peaks[3] - peaks[2]) / 10
