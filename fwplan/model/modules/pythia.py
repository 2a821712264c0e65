"""Pythia (GPT-NeoX): attention and MLP side by side, LayerNorm, biases, GELU, rotary positions on a part of each head.

Shape letters: B micro-batch, T sequence, C width (n_embd), H heads, D width of a head, F feed-forward width.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from fwplan.model.modules.attention import CausalAttention
from fwplan.model.modules.decoder import Trunk
from fwplan.model.modules.rotary import Rotary, rotate_share

if TYPE_CHECKING:
    from fwplan.model.pythia import Pythia
    from fwplan.spec import RunSpec


class Attention(nn.Module):
    """Causal multi-head self-attention with rotary positions: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Pythia) -> None:
        super().__init__()
        self.n_head = model.n_head
        self.attend = CausalAttention.of(spec)
        self.query_key_value = nn.Linear(model.n_embd, 3 * model.n_embd)
        self.dense = nn.Linear(model.n_embd, model.n_embd)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        # (B, T, H, 3D): a head's queries, keys and values are neighbours
        q, k, v = self.query_key_value(x).unflatten(2, (self.n_head, -1)).chunk(3, dim=-1)
        q, k = rotate_share(q, cos, sin), rotate_share(k, cos, sin)
        v = v.contiguous()  # a view of the joined tensor would keep all of it for backward
        out: Tensor = self.drop(self.dense(self.attend(q, k, v, training=self.training)))
        return out


class MLP(nn.Module):
    """Two linear layers around a GELU: (B, T, C) -> (B, T, F) -> (B, T, C)."""

    def __init__(self, model: Pythia) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(model.n_embd, model.dims.F)
        self.dense_4h_to_h = nn.Linear(model.dims.F, model.n_embd)
        self.drop = nn.Dropout(model.dropout)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.drop(self.dense_4h_to_h(F.gelu(self.dense_h_to_4h(x))))
        return out


class Block(nn.Module):
    """One transformer layer whose two halves read the same residual stream: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Pythia) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(model.n_embd, model.norm_eps)
        self.post_attention_layernorm = nn.LayerNorm(model.n_embd, model.norm_eps)
        self.attention = Attention(spec, model)
        self.mlp = MLP(model)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        out: Tensor = x + self.attention(self.input_layernorm(x), cos, sin) + self.mlp(self.post_attention_layernorm(x))
        return out


class PythiaTrunk(Trunk):
    """Pythia below its head: token ids (B, T) -> hidden states (B, T, C)."""

    residual: ClassVar[tuple[str, ...]] = ("dense", "dense_4h_to_h")

    def __init__(self, spec: RunSpec, model: Pythia) -> None:
        super().__init__(spec)
        self.embed_in = nn.Embedding(model.vocab_size, model.n_embd)
        self.rotary = Rotary(model.turned(model.dims.D), model.context_length, model.rope_theta)
        self.layers = nn.ModuleList(Block(spec, model) for _ in range(model.n_layer))
        self.final_layer_norm = nn.LayerNorm(model.n_embd, model.norm_eps)

    def forward(self, idx: Tensor) -> Tensor:
        cos, sin = self.rotary(idx.size(1))
        # the embeddings get no name here: it would hold them through all blocks of an evaluation
        hidden: Tensor = self.final_layer_norm(self.through(self.layers, self.drop(self.embed_in(idx)), cos, sin))
        return hidden
