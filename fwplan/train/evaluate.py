"""The loss on held-out batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fwplan.train.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from fwplan.train.step import Trainer


@torch.no_grad()
def evaluate(trainer: Trainer, batches: Iterable[tuple[Tensor, Tensor]]) -> float:
    """Return the mean loss in nats over the batches, (B, T) int64 pairs on the device, without dropout."""
    model, losses = trainer.model, list[float]()
    model.eval()
    try:
        for idx, targets in batches:
            with autocast(trainer.spec, trainer.device.type):
                losses.append(model(idx, targets).item())
    finally:
        model.train()
    return sum(losses) / len(losses)
