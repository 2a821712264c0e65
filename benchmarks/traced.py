"""The trace of an evaluation alone, which benchmarks need beside fwplan.trace(spec)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

import fwplan
from fwplan.model.gpt import GPT
from fwplan.train.evaluate import evaluate
from fwplan.train.precision import grad_scaler, weight_dtype
from fwplan.train.step import Trainer

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

CPU = torch.device("cpu")


def trace_evaluation(spec: RunSpec) -> fwplan.Trace:
    """Return the trace of an evaluation alone, with the weights and nothing else beside it; as a GPU would run it."""
    size = spec.train.eval_micro_batch_size or spec.train.micro_batch_size
    shape, vocabulary = (size, spec.sequence_length), spec.model.vocab_size
    scaler = grad_scaler(spec.train.dtype, "cpu")
    with torch.device("meta"):
        model = GPT(spec).to(dtype=weight_dtype(spec.train.dtype))

    def step(model: Any, optimizer: Any) -> None:
        batch = torch.randint(vocabulary, shape), torch.randint(vocabulary, shape)
        evaluate(Trainer(spec, CPU, model, optimizer, scaler), [batch])

    return fwplan.trace(model, step, device="cuda")
