"""A minimal GPT-2: pre-norm blocks, learned positions, GELU MLP of four widths, optionally tied head.

Shape letters: B micro-batch, T sequence, C width (n_embd), H heads, D = C / H, V vocabulary, N = B * T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwplan.model.modules.attention import CausalAttention
from fwplan.model.modules.decoder import Trunk

if TYPE_CHECKING:
    from fwplan.model.gpt2 import GPT2
    from fwplan.spec import RunSpec


class Attention(nn.Module):
    """Causal multi-head self-attention: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: GPT2) -> None:
        super().__init__()
        self.n_head = model.n_head
        self.attend = CausalAttention.of(spec)
        self.c_attn = nn.Linear(model.n_embd, 3 * model.n_embd, bias=model.bias)
        self.c_proj = nn.Linear(model.n_embd, model.n_embd, bias=model.bias)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        # each (B, T, H, D), a view of the one (B, T, 3C) storage that backward keeps
        q, k, v = (part.unflatten(2, (self.n_head, -1)) for part in self.c_attn(x).chunk(3, dim=2))
        out: Tensor = self.drop(self.c_proj(self.attend(q, k, v, training=self.training)))
        return out


class MLP(nn.Module):
    """Two linear layers around a GELU: (B, T, C) -> (B, T, 4C) -> (B, T, C)."""

    def __init__(self, model: GPT2) -> None:
        super().__init__()
        self.c_fc = nn.Linear(model.n_embd, 4 * model.n_embd, bias=model.bias)
        self.c_proj = nn.Linear(4 * model.n_embd, model.n_embd, bias=model.bias)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.c_proj(F.gelu(self.c_fc(x))))
        return out


class Block(nn.Module):
    """One pre-norm transformer layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: GPT2) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(model.n_embd, bias=model.bias)
        self.attn = Attention(spec, model)
        self.ln_2 = nn.LayerNorm(model.n_embd, bias=model.bias)
        self.mlp = MLP(model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class GPT2Trunk(Trunk):
    """GPT-2 below its head: token ids (B, T) -> hidden states (B, T, C)."""

    residual: ClassVar[tuple[str, ...]] = ("c_proj",)

    def __init__(self, spec: RunSpec, model: GPT2) -> None:
        super().__init__(spec)
        self.wte = nn.Embedding(model.vocab_size, model.n_embd)
        self.wpe = nn.Embedding(model.context_length, model.n_embd)
        self.h = nn.ModuleList(Block(spec, model) for _ in range(model.n_layer))
        self.ln_f = nn.LayerNorm(model.n_embd, bias=model.bias)

    def forward(self, idx: Tensor) -> Tensor:
        positions = torch.arange(idx.size(1), device=idx.device)
        hidden: Tensor = self.ln_f(self.blocks(self.drop(self.wte(idx) + self.wpe(positions))))
        return hidden

    def blocks(self, x: Tensor) -> Tensor:
        """Return the residual stream (B, T, C) after all blocks."""
        return self.through(self.h, x)
