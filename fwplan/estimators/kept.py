"""What one block keeps for backward, in bytes: the tensors of a flash block, and scores and masks beyond them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.estimators.sizes import Sizes


def block_bytes(s: Sizes) -> int:
    """Return what one block keeps for backward: N*C*(2 r + 14 a), LayerNorm statistics and attention's log-sum-exp."""
    return s.N * s.C * (2 * s.r + 14 * s.a) + statistics_bytes(s)


def statistics_bytes(s: Sizes) -> int:
    """Return bytes of two LayerNorms' mean and 1/std (fp32) and of a flash kernel's log-sum-exp (fp32)."""
    return 4 * s.N * (4 + (0 if s.scores else s.H))


def kept_bytes(s: Sizes) -> int:
    """Return what one block keeps for backward beyond a flash block's tensors."""
    masks = 2 * mask_width(s) * s.N * s.C
    if not s.scores:
        return masks
    return masks + scores(s) * (softmax_width(s) + copy_width(s) + mask_width(s)) + s.T * s.T


def scores(s: Sizes) -> int:
    """Return the number of one block's attention scores: B*H*T*T."""
    return s.B * s.H * s.T * s.T


def softmax_width(s: Sizes) -> int:
    """Return bytes a score of softmax's output: fp32 under CUDA's autocast, else the matmul's."""
    return 4 if s.cuda and s.autocast else s.a


def copy_width(s: Sizes) -> int:
    """Return bytes a score of what the product with v keeps, where that is not softmax's output itself."""
    return s.a if (s.cuda and s.autocast) or s.dropout else 0


def mask_width(s: Sizes) -> int:
    """Return bytes a masked element of dropout in a block."""
    return (1 if s.cuda else s.a) if s.dropout else 0
