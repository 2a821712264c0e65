"""Causal attention of queries, keys and values, by torch's kernels or written out.

Shape letters: B micro-batch, T sequence, H heads, G key-value heads, D width of a head.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

if TYPE_CHECKING:
    from torch import Tensor

    from fwplan.spec import RunSpec


# "flash" leaves the choice to torch, which takes its fused kernel; the other two are forced.
_FORCED_BACKEND = {"efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}


@dataclass(frozen=True)
class CausalAttention:
    """Attention with the kernel of a run; no weights, so no module.

    Attributes:
        dropout: of the attention weights, while training.
        by_formula: written out, with every score in memory.
        backend: torch's kernel, where it is forced.
        grouped: whether the kernel itself takes fewer key-value heads than heads: else these are repeated before.
    """

    dropout: float
    by_formula: bool
    backend: SDPBackend | None
    grouped: bool

    @classmethod
    def of(cls, spec: RunSpec) -> CausalAttention:
        """Return the attention of a spec's run."""
        # torch.compile decomposes the library's attention itself: only an eager step is written out here
        by_formula = spec.materialises_scores and not spec.train.compile
        return cls(spec.model.dropout, by_formula, _FORCED_BACKEND.get(spec.train.attention), spec.groups_in_kernel)

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, *, mask: Tensor | None = None, training: bool) -> Tensor:
        """Return (B, T, H*D) of q (B, T, H, D) and k, v (B, T, G, D).

        mask: which keys each query looks at, (T, T) booleans; None: its own and all before it.
        """
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        dropout, grouped = self.dropout if training else 0.0, k.size(1) != q.size(1)
        if grouped and (not self.grouped or mask is not None):  # FlashAttention takes no mask
            k, v = _repeated(k, q.size(1)), _repeated(v, q.size(1))
            grouped = False
        if self.by_formula:
            y = _by_formula(q, k, v, dropout, mask)
        else:
            with contextlib.nullcontext() if self.backend is None else sdpa_kernel(self.backend):
                y = F.scaled_dot_product_attention(
                    q, k, v, mask, dropout_p=dropout, is_causal=mask is None, enable_gqa=grouped
                )
        return y.transpose(1, 2).flatten(2)


def _repeated(x: Tensor, heads: int) -> Tensor:
    """Return (B, H, T, D) of (B, G, T, D): each key-value head for every head that shares it.

    A copy, but of one head that all share: flatten() gives that as a view, which the tape knows of too.
    """
    return x.unsqueeze(2).expand(-1, -1, heads // x.size(1), -1, -1).flatten(1, 2)


def _by_formula(q: Tensor, k: Tensor, v: Tensor, dropout: float, mask: Tensor | None) -> Tensor:
    """Return causal attention (B, H, T, D) with its scores (B, H, T, T) in memory, as nanoGPT's without flash."""
    T, D = q.shape[-2:]
    hidden = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1) if mask is None else ~mask
    weights = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(D))
    weights = weights.masked_fill(hidden, -math.inf)
    weights = F.softmax(weights, dim=-1)
    return F.dropout(weights, dropout) @ v
