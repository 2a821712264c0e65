"""A training step as nanoGPT's train.py takes it, forward and loop: what has a name there is alive there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from fwplan.model.modules.gpt2 import GPT2Trunk
from fwplan.train.precision import autocast
from fwplan.train.step import update

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from fwplan.model.modules.decoder import Decoder
    from fwplan.train.step import Trainer


def nanogpt_step(trainer: Trainer, micro_batches: Iterable[tuple[Tensor, Tensor]], held: list[Tensor]) -> None:
    """Take one optimizer step; `held` is the loop's variable for the logits, alive until the next ones are there.

    It holds them where the spec says keeps_logits, as nanoGPT's loop does.
    """
    train = trainer.spec.train
    for idx, targets in micro_batches:
        with autocast(trainer.spec, trainer.device.type):
            logits, loss = _forward(trainer.model, idx, targets)
            loss = loss / train.grad_accum_steps
        if train.loss.keeps_logits:
            held[:] = [logits]
        del logits
        trainer.scaler.scale(loss).backward()
    update(trainer)


def _forward(model: Decoder, idx: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return logits and loss as GPT.forward of nanoGPT's model.py does (at 3adf61e), variable by variable."""
    trunk = model.trunk
    if isinstance(trunk, GPT2Trunk):
        pos = torch.arange(0, idx.size(1), dtype=torch.long, device=idx.device)
        tok_emb = trunk.wte(idx)
        pos_emb = trunk.wpe(pos)
        x = trunk.drop(tok_emb + pos_emb)
        x = trunk.blocks(x)
        x = trunk.ln_f(x)
    else:
        x = trunk(idx)
    logits = model.lm_head(x)
    if model.widens_logits:  # as scripts do that do not call autocast's cross-entropy
        logits = logits.float()
    loss = F.cross_entropy(logits.view(-1, logits.size(-1)), targets.view(-1), ignore_index=-1)
    return logits, loss
