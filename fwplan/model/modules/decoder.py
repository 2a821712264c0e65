"""What all decoders share around their blocks: the head, the loss, checkpointing, the weights' first values.

Shape letters: B micro-batch, T sequence, C width (n_embd), V vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from fwplan.model.loss import chunked_loss, full_loss

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.spec import RunSpec


class Trunk(nn.Module):
    """Everything below the head: token ids (B, T) -> hidden states (B, T, C)."""

    residual: ClassVar[tuple[str, ...]]  # names of the projections that write onto the residual stream

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.drop = nn.Dropout(spec.model.dropout)
        self.checkpoint_every = spec.train.checkpoint_every if spec.train.checkpointing == "block" else 0

    def through(self, blocks: Iterable[nn.Module], x: Tensor, *more: Tensor) -> Tensor:
        """Return the residual stream (B, T, C) after all blocks, some of which are recomputed in backward.

        more: what every block is given beside x.
        """
        for i, block in enumerate(blocks):
            if self.training and self.checkpoint_every and i % self.checkpoint_every == 0:
                x = checkpoint(block, x, *more, use_reentrant=False, preserve_rng_state=self.drop.p > 0)
            else:
                x = block(x, *more)
        return x


class Decoder(nn.Module):
    """A bundled model, built from a RunSpec; forward(idx, targets) returns the loss alone."""

    def __init__(self, spec: RunSpec, trunk: Trunk) -> None:
        super().__init__()
        self.trunk = trunk
        self.lm_head = self._make_head(spec)
        if spec.model.tied_embeddings:
            self.lm_head.weight = self.get_parameter(spec.model.embedding)
        self.loss_chunk_tokens = spec.loss_chunk_tokens if spec.train.loss.name == "chunked" else 0
        self.widens_logits = spec.widens_logits
        self._initialise(spec.model.n_layer)

    def _make_head(self, spec: RunSpec) -> nn.Linear:
        return nn.Linear(spec.model.n_embd, spec.model.vocab_size, bias=False)

    def _initialise(self, n_layer: int) -> None:
        """GPT-2's start: normal(0, 0.02), residual projections narrower by sqrt(2 L), biases zero, norms one."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif parameter.dim() > 1:
                narrower = math.sqrt(2 * n_layer) if name.split(".")[-2] in self.trunk.residual else 1
                nn.init.normal_(parameter, std=0.02 / narrower)

    def logits(self, idx: Tensor) -> Tensor:
        """Return the next-token logits (B, T, V) in the matmul's dtype."""
        out: Tensor = self.lm_head(self.trunk(idx))
        return out

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """Return the mean next-token loss in nats; idx and targets are (B, T) int64."""
        if self.loss_chunk_tokens:
            hidden = self.trunk(idx)
            return chunked_loss(
                hidden.flatten(0, 1), self.lm_head.weight, targets.flatten(), self.loss_chunk_tokens,
                matmul_dtype(hidden),
            )  # fmt: skip
        return full_loss(self.logits(idx).flatten(0, 1), targets.flatten(), widens=self.widens_logits)


def matmul_dtype(x: Tensor) -> torch.dtype:
    """Return the dtype that a product of x is taken in: autocast's, or its own."""
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
