"""Rotary positions: pairs of a head's elements turn by an angle that grows with the position (Su et al. 2021).

Element i pairs with i + R/2, as in transformers; Meta's own llama pairs neighbours, which is the same up to an order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Callable


class Rotary(nn.Module):
    """The tables of angles' cosines and sines, (S, R/2): made once, in fp32, and in no checkpoint.

    Args:
        width: R, elements of a head that turn.
        context: S, the longest sequence.
        theta: the slowest pair's wavelength is about 2 pi theta positions.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, width: int, context: int, theta: float) -> None:
        super().__init__()
        frequencies = theta ** -(torch.arange(0, width, 2).float() / width)
        angles = torch.outer(torch.arange(context).float(), frequencies)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:  # noqa: ARG002
        device = fn(self.cos[:0]).device  # where weights are cast the tables stay: bf16 has 8 bits for an angle
        self.cos, self.sin = self.cos.to(device), self.sin.to(device)
        return self

    def forward(self, T: int) -> tuple[Tensor, Tensor]:
        """Return the tables of the first T positions, (T, 1, R/2): one for all heads."""
        return self.cos[:T, None], self.sin[:T, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x (B, T, H, R) turned by its positions' angles, in x's dtype; the turning itself is done in fp32."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1).to(x.dtype)


def rotate_share(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Return x (B, T, H, D) with the first R elements of each head turned, as wide as the tables are for."""
    width = 2 * cos.size(-1)
    turned, rest = x.split((width, x.size(-1) - width), dim=-1)
    return torch.cat((rotate(turned, cos, sin), rest), dim=-1)
