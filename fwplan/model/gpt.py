"""A minimal GPT-2: pre-norm blocks, learned positions, GELU MLP of four widths, optionally tied head.

Shape letters: B micro-batch, T sequence, C width (n_embd), H heads, D = C / H, V vocabulary, N = B * T.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint

from fwplan.model.loss import chunked_loss, full_loss

if TYPE_CHECKING:
    from fwplan.spec import ModelSpec, RunSpec


# "flash" leaves the choice to torch, which takes its fused kernel; the other two are forced.
_FORCED_BACKEND = {"efficient": SDPBackend.EFFICIENT_ATTENTION, "math": SDPBackend.MATH}


class Attention(nn.Module):
    """Causal multi-head self-attention: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        model = spec.model
        self.n_head = model.n_head
        self.dropout = model.dropout
        # torch.compile decomposes the library's attention itself: only an eager step is written out here
        self.by_formula = spec.materialises_scores and not spec.train.compile
        self.backend = _FORCED_BACKEND.get(spec.train.attention)
        self.c_attn = nn.Linear(model.n_embd, 3 * model.n_embd, bias=model.bias)
        self.c_proj = nn.Linear(model.n_embd, model.n_embd, bias=model.bias)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        # each (B, H, T, D), a view of the one (B, T, 3C) storage that backward keeps
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in self.c_attn(x).chunk(3, dim=2))
        dropout = self.dropout if self.training else 0.0
        if self.by_formula:
            y = _attention_by_formula(q, k, v, dropout)
        else:
            with contextlib.nullcontext() if self.backend is None else sdpa_kernel(self.backend):
                y = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)
        y = y.transpose(1, 2).reshape(B, T, C)
        out: Tensor = self.drop(self.c_proj(y))
        return out


def _attention_by_formula(q: Tensor, k: Tensor, v: Tensor, dropout: float) -> Tensor:
    """Return causal attention (B, H, T, D) with its scores (B, H, T, T) in memory, as nanoGPT's without flash."""
    T, D = q.shape[-2:]
    future = torch.ones(T, T, dtype=torch.bool, device=q.device).triu(1)
    weights = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(D))
    weights = weights.masked_fill(future, -math.inf)
    weights = F.softmax(weights, dim=-1)
    return F.dropout(weights, dropout) @ v


class MLP(nn.Module):
    """Two linear layers around a GELU: (B, T, C) -> (B, T, 4C) -> (B, T, C)."""

    def __init__(self, model: ModelSpec) -> None:
        super().__init__()
        self.c_fc = nn.Linear(model.n_embd, 4 * model.n_embd, bias=model.bias)
        self.c_proj = nn.Linear(4 * model.n_embd, model.n_embd, bias=model.bias)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.c_proj(F.gelu(self.c_fc(x))))
        return out


class Block(nn.Module):
    """One pre-norm transformer layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        model = spec.model
        self.ln_1 = nn.LayerNorm(model.n_embd, bias=model.bias)
        self.attn = Attention(spec)
        self.ln_2 = nn.LayerNorm(model.n_embd, bias=model.bias)
        self.mlp = MLP(model)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        out: Tensor = x + self.mlp(self.ln_2(x))
        return out


class Trunk(nn.Module):
    """Everything below the head: token ids (B, T) -> hidden states (B, T, C)."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        model = spec.model
        self.wte = nn.Embedding(model.vocab_size, model.n_embd)
        self.wpe = nn.Embedding(model.context_length, model.n_embd)
        self.drop = nn.Dropout(model.dropout)
        self.h = nn.ModuleList(Block(spec) for _ in range(model.n_layer))
        self.ln_f = nn.LayerNorm(model.n_embd, bias=model.bias)
        self.checkpoint_every = spec.train.checkpoint_every if spec.train.checkpointing == "block" else 0

    def forward(self, idx: Tensor) -> Tensor:
        positions = torch.arange(idx.size(1), device=idx.device)
        hidden: Tensor = self.ln_f(self.blocks(self.drop(self.wte(idx) + self.wpe(positions))))
        return hidden

    def blocks(self, x: Tensor) -> Tensor:
        """Return the residual stream (B, T, C) after all blocks, some of which are recomputed in backward."""
        for i, block in enumerate(self.h):
            if self.training and self.checkpoint_every and i % self.checkpoint_every == 0:
                x = checkpoint(block, x, use_reentrant=False, preserve_rng_state=self.drop.p > 0)
            else:
                x = block(x)
        return x


class GPT(nn.Module):
    """The bundled model, built from a RunSpec; forward(idx, targets) returns the loss alone."""

    def __init__(self, spec: RunSpec) -> None:
        super().__init__()
        self.trunk = Trunk(spec)
        self.lm_head = nn.Linear(spec.model.n_embd, spec.model.vocab_size, bias=False)
        if spec.model.tied_embeddings:
            self.lm_head.weight = self.trunk.wte.weight
        self.loss_chunk_tokens = spec.loss_chunk_tokens if spec.train.loss.name == "chunked" else 0
        self._initialise(spec.model.n_layer)

    def _initialise(self, n_layer: int) -> None:
        """GPT-2's start: normal(0, 0.02), residual projections narrower by sqrt(2 L), biases zero."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
            elif "ln_" not in name:
                nn.init.normal_(parameter, std=0.02 / (math.sqrt(2 * n_layer) if "c_proj" in name else 1))

    def logits(self, idx: Tensor) -> Tensor:
        """Return the next-token logits (B, T, V) in the matmul's dtype."""
        out: Tensor = self.lm_head(self.trunk(idx))
        return out

    def forward(self, idx: Tensor, targets: Tensor) -> Tensor:
        """Return the mean next-token loss in nats; idx and targets are (B, T) int64."""
        if self.loss_chunk_tokens:
            hidden = self.trunk(idx)
            dtype = _matmul_dtype(hidden)
            return chunked_loss(
                hidden.flatten(0, 1), self.lm_head.weight, targets.flatten(), self.loss_chunk_tokens, dtype
            )
        return full_loss(self.logits(idx).flatten(0, 1), targets.flatten())


def _matmul_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
