"""A training step as nanoGPT's train.py takes it: the model returns its logits, and the loop may hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.model.loss import full_loss
from fwplan.train.precision import autocast
from fwplan.train.step import update

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from fwplan.train.step import Trainer


def nanogpt_step(trainer: Trainer, micro_batches: Iterable[tuple[Tensor, Tensor]], held: list[Tensor]) -> None:
    """Take one optimizer step; `held` is the loop's variable for the logits, alive until the next ones are there.

    A forward that returns logits and loss keeps nothing else than one that returns the loss; what differs is who holds
    the logits in backward: the loop, where the spec says keeps_logits.
    """
    train = trainer.spec.train
    for idx, targets in micro_batches:
        with autocast(train.dtype, trainer.device.type):
            logits = trainer.model.logits(idx)
            loss = full_loss(logits.flatten(0, 1), targets.flatten()) / train.grad_accum_steps
        if train.keeps_logits:
            held[:] = [logits]
        del logits
        trainer.scaler.scale(loss).backward()
    update(trainer)
