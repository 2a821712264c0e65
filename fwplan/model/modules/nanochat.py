"""nanochat: rotary positions, norms without weights, ReLU^2, value embeddings, windows, smear, backout, capped logits.

What each is and where it is from: fwplan/model/nanochat.py. Its products run in the type of the embeddings, to which
each linear layer casts its weight; there is no autocast.

Shape letters: B micro-batch, T sequence, C width (n_embd), H heads, G key-value heads, D width of a head, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fwplan.model.modules.attention import CausalAttention
from fwplan.model.modules.decoder import Decoder, Trunk
from fwplan.model.nanochat import (
    GATE_CHANNELS,
    LOGIT_CAP,
    ROTARY_REACH,
    ROTARY_THETA,
    SHARPNESS,
    SMEAR_CHANNELS,
    WIDEST_GATE,
)

if TYPE_CHECKING:
    from fwplan.model.nanochat import Nanochat
    from fwplan.spec import RunSpec


class Linear(nn.Linear):
    """A layer without bias whose fp32 weight takes its input's type: (..., in) -> (..., out)."""

    def __init__(self, ins: int, outs: int) -> None:
        super().__init__(ins, outs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight.to(x.dtype))


class Attention(nn.Module):
    """Causal self-attention, perhaps through a window, whose values may have an embedding added: (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Nanochat, layer: int) -> None:
        super().__init__()
        n = model.dims
        self.attend = CausalAttention.of(spec)
        self.window = model.windows(spec.sequence_length)[layer]
        self.head_width = n.D
        self.c_q = Linear(n.C, n.C)
        self.c_k = Linear(n.C, n.G * n.D)
        self.c_v = Linear(n.C, n.G * n.D)
        self.c_proj = Linear(n.C, n.C)
        self.ve_gate = Linear(GATE_CHANNELS, n.G) if model.has_value_embedding(layer) else None

    def forward(self, x: Tensor, ve: Tensor | None, cosines: Tensor, sines: Tensor) -> Tensor:
        heads = (-1, self.head_width)
        q, k, v = (project(x).unflatten(2, heads) for project in (self.c_q, self.c_k, self.c_v))  # (B, T, H or G, D)
        if self.ve_gate is not None and ve is not None:
            gates = WIDEST_GATE * self.ve_gate(x[..., :GATE_CHANNELS]).sigmoid()  # (B, T, G)
            v = v + gates.unsqueeze(-1) * ve.unflatten(2, heads)
        q, k = _turned(q, cosines, sines), _turned(k, cosines, sines)
        q, k = _norm(q), _norm(k)
        q = q * SHARPNESS
        k = k * SHARPNESS
        mask = None if self.window is None else _window_mask(x.size(1), self.window, x.device)
        out: Tensor = self.c_proj(self.attend(q, k, v, mask=mask, training=self.training))
        return out


class MLP(nn.Module):
    """Two linear layers around a squared ReLU: (B, T, C) -> (B, T, 4C) -> (B, T, C)."""

    def __init__(self, C: int) -> None:
        super().__init__()
        self.c_fc = Linear(C, 4 * C)
        self.c_proj = Linear(4 * C, C)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.c_proj(F.relu(self.c_fc(x)).square())
        return out


class Block(nn.Module):
    """One layer, at whose input the first embeddings are mixed in again: (B, T, C) -> (B, T, C)."""

    def __init__(self, spec: RunSpec, model: Nanochat, layer: int) -> None:
        super().__init__()
        n, self.layer = model.dims, layer
        self.value_embed = nn.Embedding(n.V, n.G * n.D) if model.has_value_embedding(layer) else None
        self.attn = Attention(spec, model, layer)
        self.mlp = MLP(n.C)

    def forward(
        self, x: Tensor, x0: Tensor, idx: Tensor, cosines: Tensor, sines: Tensor, resid: Tensor, first: Tensor
    ) -> Tensor:
        x = resid[self.layer] * x + first[self.layer] * x0
        ve = None if self.value_embed is None else self.value_embed(idx).to(x.dtype)
        x = x + self.attn(_norm(x), ve, cosines, sines)
        out: Tensor = x + self.mlp(_norm(x))
        return out


class NanochatTrunk(Trunk):
    """nanochat below its head: token ids (B, T) -> hidden states (B, T, C)."""

    cosines: Tensor
    sines: Tensor

    def __init__(self, spec: RunSpec, model: Nanochat) -> None:
        super().__init__(spec)
        n = model.dims
        depth = torch.linspace(0, 1, n.L)
        self.resid_lambdas = nn.Parameter(1.15 - 0.10 * depth)
        self.x0_lambdas = nn.Parameter(0.20 - 0.15 * depth)
        self.smear_lambda = nn.Parameter(torch.zeros(1))
        self.backout_lambda = nn.Parameter(torch.full((1,), 0.2))
        self.wte = nn.Embedding(n.V, n.C)
        self.smear_gate = Linear(SMEAR_CHANNELS, 1)
        self.h = nn.ModuleList(Block(spec, model, layer) for layer in range(n.L))
        frequencies = ROTARY_THETA ** -(torch.arange(0, n.D, 2).float() / n.D)
        angles = torch.outer(torch.arange(ROTARY_REACH * n.S).float(), frequencies)
        self.register_buffer("cosines", angles.cos(), persistent=False)
        self.register_buffer("sines", angles.sin(), persistent=False)

    def forward(self, idx: Tensor) -> Tensor:
        T, blocks, half = idx.size(1), list(self.h), len(self.h) // 2 + 1
        x0 = self._smeared(_norm(self.wte(idx).to(self.cosines.dtype)))
        tables = (self.cosines[:T, None], self.sines[:T, None])  # (T, 1, D/2): one for all heads
        more = (x0, idx, *tables, self.resid_lambdas, self.x0_lambdas)
        middle = self.through(blocks[:half], x0, *more)
        x = self.through(blocks[half:], middle, *more)
        return _norm(x - self.backout_lambda.to(x.dtype) * middle)

    def _smeared(self, x: Tensor) -> Tensor:
        """Return x (B, T, C) with a share of each token's forerunner added to it."""
        gates = self.smear_lambda.to(x.dtype) * self.smear_gate(x[:, 1:, :SMEAR_CHANNELS]).sigmoid()  # (B, T-1, 1)
        return torch.cat((x[:, :1], x[:, 1:] + gates * x[:, :-1]), dim=1)


class NanochatDecoder(Decoder):
    """nanochat with its head, whose rows for no token are cut off and whose logits are capped."""

    def __init__(self, spec: RunSpec, trunk: Trunk) -> None:
        super().__init__(spec, trunk)
        self.vocab_size = spec.model.vocab_size

    def _make_head(self, spec: RunSpec) -> nn.Linear:
        n = spec.model.dims
        return Linear(n.C, n.V)

    def _initialise(self, n_layer: int) -> None:  # noqa: ARG002  # whose factors the trunk has
        """Start as nanochat does: layers uniform, what writes onto the residual stream zero, gates barely open."""
        width = 3**0.5 * self.lm_head.in_features**-0.5  # of a uniform distribution with the deviation 1 / sqrt(C)
        for name, parameter in self.named_parameters():
            kind = name.split(".")[-2]
            if kind in {"c_q", "c_k", "c_v", "value_embed"}:
                nn.init.uniform_(parameter, -width, width)
            elif kind == "c_fc":
                nn.init.uniform_(parameter, -0.4 * width, 0.4 * width)
            elif kind == "c_proj":
                nn.init.zeros_(parameter)
            elif kind.endswith("_gate"):
                nn.init.uniform_(parameter, 0.0, 0.02)
            elif kind in {"wte", "lm_head"}:
                nn.init.normal_(parameter, std=0.8 if kind == "wte" else 0.001)

    def logits(self, idx: Tensor) -> Tensor:
        """Return the next-token logits (B, T, vocab_size) in fp32, between -15 and 15."""
        logits = self.lm_head(self.trunk(idx))
        logits = logits[..., : self.vocab_size]
        logits = logits.float()
        return LOGIT_CAP * torch.tanh(logits / LOGIT_CAP)


def _norm(x: Tensor) -> Tensor:
    return F.rms_norm(x, (x.size(-1),))


def _turned(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    """Return x (B, T, H, D) with pairs of its channels turned: the first half of a head's with the second."""
    half = x.size(-1) // 2
    left, right = x[..., :half], x[..., half:]
    first = left * cosines + right * sines
    second = left * (-sines) + right * cosines
    return torch.cat((first, second), dim=-1)


def _window_mask(T: int, window: int, device: torch.device) -> Tensor:
    """Return which keys each query looks at, (T, T): its own and the `window` before it."""
    columns = torch.arange(T, device=device)
    rows = columns.unsqueeze(1)
    causal = columns <= rows
    return causal & (rows - columns <= window)
