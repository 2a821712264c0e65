"""The trace against the truth: a real CPU step, its every live tensor counted by the profiler."""

import warnings
from contextlib import contextmanager

import pytest
import torch

from fwplan.tracing.bundled import trace_spec
from fwplan.tracing.nanogpt import nanogpt_step
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.measure import persistent
from fwplan.train.step import build_trainer, train_step

SMALL = {"n_layer": 3, "n_head": 2, "n_embd": 64, "vocab_size": 3000, "context_length": 128}
# Modes that differ in what is kept, and shapes whose peaks fall at different ops.
CASES = {
    "fp32": ({}, {"dtype": "float32"}),
    "bf16, few tokens, tied": ({"n_embd": 256}, {"sequence_length": 8}),
    "fp32, few tokens, tied": ({"n_embd": 256}, {"sequence_length": 8, "dtype": "float32"}),
    "untied, accumulating": ({"tied_embeddings": False}, {"grad_accum_steps": 3}),
    "fp16 with its scaler, bias": ({"bias": True}, {"dtype": "float16", "optimizer_impl": "foreach"}),
    "SGD": ({}, {"optimizer": "sgd", "optimizer_impl": "foreach"}),
    "pure bf16": ({}, {"dtype": "pure_bfloat16", "optimizer_impl": "for_loop"}),
    "dropout, so by formula": ({"dropout": 0.1}, {}),
    "by formula, small vocabulary": ({"vocab_size": 64}, {"attention": "math", "micro_batch_size": 4}),
    "nanoGPT's forward and loop": ({"vocab_size": 80}, {"returns_logits": True, "keeps_logits": True}),
    "nanoGPT's, logits widened": ({"vocab_size": 800}, {"returns_logits": True, "loss.dtype": "float32"}),
    "logits' own loss": ({}, {"loss.dtype": "logits"}),
    "logits' own loss, pure bf16": ({}, {"loss.dtype": "logits", "dtype": "pure_bfloat16"}),
    "chunked": ({}, {"loss": "chunked", "loss_chunk_tokens": 64}),
    "checkpointed": (
        {"n_layer": 5, "vocab_size": 64},
        {"dtype": "float32", "checkpointing": "block", "checkpoint_every": 2},
    ),
}


def real_peak(spec):
    """Return the peak of a warm step's live tensors, in bytes."""
    torch.manual_seed(0)
    trainer = build_trainer(spec, torch.device("cpu"))
    shape, vocabulary = (spec.train.micro_batch_size, spec.sequence_length), spec.model.vocab_size

    def batches():
        for _ in range(spec.train.grad_accum_steps):
            yield torch.randint(vocabulary, shape), torch.randint(vocabulary, shape)

    held = []  # the logits, in nanoGPT's loop

    def step():
        if spec.train.loss.returns_logits:
            nanogpt_step(trainer, batches(), held)
        else:
            train_step(trainer, batches())

    for _ in range(10):
        step()
        if trainer.optimizer.state:  # a float16 step that overflows is skipped
            break
    with without_onednn():
        return measure_live_memory(step, [*persistent(trainer), *held]).peak_bytes


@contextmanager
def without_onednn():
    """Run torch's own matmuls: oneDNN's scratch, on some processors from torch's allocator, is no tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the switch speaks of GPUs that are not here
        with torch.backends.mkldnn.flags(enabled=False):
            yield


@pytest.mark.parametrize("name", CASES)
def test_a_traced_step_takes_what_the_real_one_takes(run_spec, name):
    model, train = CASES[name]
    spec = run_spec(**SMALL | model | {"micro_batch_size": 2, "compile": False} | train, device="cpu")
    assert trace_spec(spec).peak_allocated_bytes == pytest.approx(real_peak(spec), rel=1e-4)
