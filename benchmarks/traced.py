"""The trace of an evaluation alone, which benchmarks need beside fwplan.trace(spec)."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import torch

import fwplan
from fwplan.model.modules import build_model
from fwplan.train.evaluate import evaluate
from fwplan.train.precision import grad_scaler, in_their_types
from fwplan.train.step import Trainer, train_step

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

CPU = torch.device("cpu")


def trace_evaluation(spec: RunSpec) -> fwplan.Trace:
    """Return the trace of an evaluation after a training step: weights and optimizer state beside it, as on a GPU."""
    train, vocabulary = spec.train, spec.model.vocab_size
    scaler = grad_scaler(train.dtype, "cpu")
    calls = count()
    with torch.device("meta"):
        model = in_their_types(build_model(spec), spec)

    def batch(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        shape = size, spec.sequence_length
        return torch.randint(vocabulary, shape), torch.randint(vocabulary, shape)

    def step(model: Any, optimizer: Any) -> None:
        trainer = Trainer(spec, CPU, model, optimizer, scaler)
        if next(calls) == 0:  # the trace reports the last call
            train_step(trainer, [batch(train.micro_batch_size)])
        evaluate(trainer, [batch(train.eval_micro_batch_size or train.micro_batch_size)])

    return fwplan.trace(model, step, train.optimizer.build(model), device="cuda")
