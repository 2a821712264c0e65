"""One optimizer step: accumulate over micro-batches, clip, update."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from fwplan.model.modules import build_model
from fwplan.train.precision import autocast, grad_scaler, in_their_types, set_matmul_precision

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from fwplan.model.modules.decoder import Decoder
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class Trainer:
    """The parts of a step that belong together: the model, the optimizer, the loss scaler."""

    spec: RunSpec
    device: torch.device
    model: Decoder
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler


def build_trainer(spec: RunSpec, device: torch.device) -> Trainer:
    """Return a Trainer with freshly initialised weights on the device; seeded by the caller."""
    set_matmul_precision(device.type, tf32=spec.train.tf32)  # before anything is compiled: it is part of the graph
    model = in_their_types(build_model(spec), spec).to(device)
    if spec.train.compile:
        _compile(model, spec)
    return Trainer(
        spec=spec,
        device=device,
        model=model,
        optimizer=spec.train.optimizer.build(model),
        scaler=grad_scaler(spec.train.dtype, device.type),
    )


def _compile(model: Decoder, spec: RunSpec) -> None:
    """Compile the model whole, or its trunk alone where a chunked loss stays eager."""
    part = model.trunk if spec.train.loss.name == "chunked" else model
    part.compile(dynamic=False)  # evaluation may use another batch size: that must not make the step's graph dynamic


def train_step(trainer: Trainer, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
    """Run one optimizer step and return its mean loss in nats (a detached scalar on the device).

    micro_batches yields grad_accum_steps pairs of (B, T) int64 tensors on the device.
    """
    train = trainer.spec.train
    total = torch.zeros((), device=trainer.device)
    for idx, targets in micro_batches:
        with autocast(trainer.spec, trainer.device.type):
            loss = trainer.model(idx, targets) / train.grad_accum_steps
        total += loss.detach()
        trainer.scaler.scale(loss).backward()
    update(trainer)
    return total


def update(trainer: Trainer) -> None:
    """Clip the accumulated gradients, let the optimizer take its step, and drop them."""
    if trainer.spec.train.grad_clip > 0:
        trainer.scaler.unscale_(trainer.optimizer)
        torch.nn.utils.clip_grad_norm_(trainer.model.parameters(), trainer.spec.train.grad_clip)
    trainer.scaler.step(trainer.optimizer)
    trainer.scaler.update()
    trainer.optimizer.zero_grad(set_to_none=True)
