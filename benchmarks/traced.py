"""Traces that benchmarks need beside fwplan.trace(spec): an evaluation alone, a run that evaluates between steps."""

from __future__ import annotations

from itertools import repeat
from typing import TYPE_CHECKING, Any

import torch

import fwplan
from fwplan.model.gpt import GPT
from fwplan.train.evaluate import evaluate
from fwplan.train.optim import build_optimizer
from fwplan.train.precision import grad_scaler, weight_dtype
from fwplan.train.step import Trainer, train_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from fwplan.spec import RunSpec

CPU = torch.device("cpu")
MICRO_STEPS = 2  # the third and later ones of a step repeat the second


def trace_evaluation(spec: RunSpec) -> fwplan.Trace:
    """Return the trace of an evaluation alone, with the weights and nothing else beside it; as a GPU would run it."""

    def step(model: Any, optimizer: Any) -> None:
        evaluate(_trainer(spec, model, optimizer), _evaluation_batch(spec))

    return fwplan.trace(_model(spec), step, device="cuda")


def trace_run(spec: RunSpec) -> fwplan.Trace:
    """Return the trace of three steps with an evaluation after each, which is then one of a running training."""
    train, model = spec.train, _model(spec)

    def step(model: Any, optimizer: Any) -> None:
        trainer = _trainer(spec, model, optimizer)
        train_step(trainer, _batches(spec, train.micro_batch_size, min(train.grad_accum_steps, MICRO_STEPS)))
        evaluate(trainer, _evaluation_batch(spec))

    return fwplan.trace(model, step, build_optimizer(model, train), device="cuda")


def _model(spec: RunSpec) -> GPT:
    with torch.device("meta"):
        return GPT(spec).to(dtype=weight_dtype(spec.train.dtype))


def _trainer(spec: RunSpec, model: Any, optimizer: Any) -> Trainer:
    return Trainer(spec, CPU, model, optimizer, grad_scaler(spec.train.dtype, "cpu"))


def _evaluation_batch(spec: RunSpec) -> Iterator[tuple[Tensor, Tensor]]:
    return _batches(spec, spec.train.eval_micro_batch_size or spec.train.micro_batch_size, 1)


def _batches(spec: RunSpec, size: int, micro_steps: int) -> Iterator[tuple[Tensor, Tensor]]:
    shape, vocabulary = (size, spec.sequence_length), spec.model.vocab_size
    for _ in repeat(None, micro_steps):
        yield torch.randint(vocabulary, shape), torch.randint(vocabulary, shape)
