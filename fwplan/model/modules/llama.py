"""llama: RMSNorm, rotary positions, grouped queries, SwiGLU; optionally norms over heads and biases.

Shape letters: B micro-batch, T sequence, C width (n_embd), H heads, G key-value heads, D width of a head, F width of
the MLP.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fwplan.model.modules.attention import CausalAttention
from fwplan.model.modules.decoder import Trunk, matmul_dtype
from fwplan.model.modules.norms import HeadNorm
from fwplan.model.modules.rotary import Rotary, rotate

if TYPE_CHECKING:
    from fwplan.model.llama import Llama
    from fwplan.spec import RunSpec


class Attention(nn.Module):
    """Causal self-attention with rotary positions and shared key-value heads: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Llama) -> None:
        super().__init__()
        n, biased = model.dims, model.attention_bias
        self.head_width = n.D
        self.attend = CausalAttention.of(spec)
        self.q_proj = nn.Linear(n.C, n.H * n.D, bias=biased != "none")
        self.k_proj = nn.Linear(n.C, n.G * n.D, bias=biased != "none")
        self.v_proj = nn.Linear(n.C, n.G * n.D, bias=biased != "none")
        self.o_proj = nn.Linear(n.H * n.D, n.C, bias=biased == "all")
        self.q_norm = HeadNorm(n.D, model.norm_eps) if model.qk_norm else nn.Identity()
        self.k_norm = HeadNorm(n.D, model.norm_eps) if model.qk_norm else nn.Identity()
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        heads = (-1, self.head_width)
        # (B, T, H, D) and (B, T, G, D), turned in this layout: attention's output then needs no copy
        q = rotate(self.q_norm(self.q_proj(x).unflatten(2, heads)), cos, sin)
        k = rotate(self.k_norm(self.k_proj(x).unflatten(2, heads)), cos, sin)
        v = self.v_proj(x).unflatten(2, heads)
        out: Tensor = self.drop(self.o_proj(self.attend(q, k, v, training=self.training)))
        return out


class MLP(nn.Module):
    """SwiGLU: (B, T, C) -> (B, T, F), one half through SiLU times the other -> (B, T, C)."""

    def __init__(self, model: Llama) -> None:
        super().__init__()
        n = model.dims
        self.gate_proj = nn.Linear(n.C, n.F, bias=model.mlp_bias)
        self.up_proj = nn.Linear(n.C, n.F, bias=model.mlp_bias)
        self.down_proj = nn.Linear(n.F, n.C, bias=model.mlp_bias)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x)))
        return out


class Block(nn.Module):
    """One pre-norm transformer layer: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Llama) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(model.n_embd, model.norm_eps)
        self.self_attn = Attention(spec, model)
        self.post_attention_layernorm = nn.RMSNorm(model.n_embd, model.norm_eps)
        self.mlp = MLP(model)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(_for_products(self.input_layernorm(x)), cos, sin)
        out: Tensor = x + self.mlp(_for_products(self.post_attention_layernorm(x)))
        return out


def _for_products(x: Tensor) -> Tensor:
    """Return x in the products' dtype: cast once, where autocast would cast and keep it for each of them."""
    return x.to(matmul_dtype(x))


class LlamaTrunk(Trunk):
    """Llama below its head: token ids (B, T) -> hidden states (B, T, C)."""

    residual: ClassVar[tuple[str, ...]] = ("o_proj", "down_proj")

    def __init__(self, spec: RunSpec, model: Llama) -> None:
        super().__init__(spec)
        self.embed_tokens = nn.Embedding(model.vocab_size, model.n_embd)
        self.rotary = Rotary(model.dims.D, model.context_length, model.rope_theta)
        self.layers = nn.ModuleList(Block(spec, model) for _ in range(model.n_layer))
        self.norm = nn.RMSNorm(model.n_embd, model.norm_eps)

    def forward(self, idx: Tensor) -> Tensor:
        cos, sin = self.rotary(idx.size(1))
        # the embeddings get no name here: it would hold them through all blocks of an evaluation
        hidden: Tensor = self.norm(self.through(self.layers, self.drop(self.embed_tokens(idx)), cos, sin))
        return hidden
