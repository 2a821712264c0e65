"""The trace of a RunSpec: the bundled model's own training step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from fwplan.errors import FwplanError
from fwplan.estimators.overhead import workspaces
from fwplan.model.modules import build_model
from fwplan.spec import defaults
from fwplan.tracing.nanogpt import nanogpt_step
from fwplan.tracing.run import trace_module
from fwplan.train.evaluate import evaluate
from fwplan.train.precision import grad_scaler, in_their_types
from fwplan.train.step import Trainer, train_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.spec import RunSpec
    from fwplan.tracing.result import Trace

CPU = torch.device("cpu")
_MOST_MICRO_STEPS = 2  # the third and later ones of a step repeat the second


def trace_spec(spec: RunSpec) -> Trace:
    """Return the trace of one eager step of the spec's model, after two steps and evaluations.

    A spec without a device is traced for CUDA. torch.compile is not traced: its kernels are not torch's ops.

    Raises:
        FwplanError: the step cannot be traced.
    """
    train = spec.train
    if not train.optimizer.traced:
        raise FwplanError(
            "bitsandbytes' kernels cannot be traced: they are not torch's ops",
            where="train.optimizer",
            hint='trace it with optimizer "adamw"; the closed form knows the difference',
        )
    device: Literal["cuda", "cpu"] = "cpu" if spec.device is not None and spec.device.type == "cpu" else "cuda"
    with torch.device("meta"):
        model = in_their_types(build_model(spec), spec)
    scaler = grad_scaler(train.dtype, "cpu")

    def trainer(model: Any, optimizer: Any) -> Trainer:
        return Trainer(spec=spec, device=CPU, model=model, optimizer=optimizer, scaler=scaler)

    held: list[Tensor] = []

    def step(model: Any, optimizer: Any) -> None:
        batches = _batches(spec, train.micro_batch_size)
        if train.loss.returns_logits:
            nanogpt_step(trainer(model, optimizer), batches, held)
        else:
            train_step(trainer(model, optimizer), batches)

    def evaluation(model: Any) -> None:
        size = defaults.eval_micro_batch_size(train)
        evaluate(trainer(model, None), _batches(spec, size, micro_steps=1))

    return trace_module(
        model,
        step,
        train.optimizer.build(model),
        device=device,
        between=evaluation,
        workspace_bytes=int(workspaces(spec.device.name if spec.device else None).point) if device == "cuda" else 0,
        notes=tuple(_notes(spec)),
    )


def _batches(spec: RunSpec, size: int, micro_steps: int | None = None) -> Iterator[tuple[Tensor, Tensor]]:
    shape, vocabulary = (size, spec.sequence_length), spec.model.vocab_size
    for _ in range(micro_steps or min(spec.train.grad_accum_steps, _MOST_MICRO_STEPS)):
        yield torch.randint(vocabulary, shape), torch.randint(vocabulary, shape)


def _notes(spec: RunSpec) -> Iterator[str]:
    if spec.train.compile:
        yield "traced eager: torch.compile's fused kernels are not torch's ops, so the closed form alone knows them"
    if spec.train.grad_accum_steps > _MOST_MICRO_STEPS:
        yield f"{_MOST_MICRO_STEPS} of {spec.train.grad_accum_steps} micro-steps traced: the others repeat the second"
