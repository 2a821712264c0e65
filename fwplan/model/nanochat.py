"""nanochat's block of 2026, once: its shape, its weights, its forward as ops.

Rotary positions, weightless norms (of q and k too), ReLU^2, an untied head, value embeddings behind a gate on every
other layer, a window pattern, each token mixed with the one before it (smear), each layer with the embeddings, the
middle layer's output taken off again (backout), logits capped at 15. Source: karpathy/nanochat at
92d63d4e8bb4df75c3b71618f31ddde2378b2bcd, nanochat/gpt.py and flash_attention.py; weights are called as there, with
`trunk` around all but the head, and a value embedding in its block.

Nothing is autocast: a linear layer casts its fp32 weight to its input's type, which is the embeddings' own. They are
held in bf16 where products are; with fp16, whose gradients a GradScaler cannot unscale, in fp32.

Attention is torch's, as nanochat's own is where FlashAttention 3 is not there: a window is a boolean mask, made anew in
each such layer, which FlashAttention refuses, so that the efficient kernel takes it and keeps it in the products' type.
FlashAttention 3, which nanochat takes on Ampere to Hopper, has no masks: T^2 elements less for each such layer.

B micro-batch, T sequence, C width, H heads, G key-value heads, D width of a head, V vocabulary with its padding,
S longest context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fwplan.fields import Context, Heads, Vocabulary  # noqa: TC001  # pydantic reads them
from fwplan.model.architecture import STANDS_FOR, Architecture, Dims, key_value_heads, sharing
from fwplan.model.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwplan.model.architecture import Blocks, Names, Shapes
    from fwplan.spec import TrainSpec
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.eager import Eager
    from fwplan.tape.tape import Leaf, Tensor

SMEAR_CHANNELS, GATE_CHANNELS = 24, 12  # of a token, from which its gates are made
WIDEST_GATE = 3.0  # of a value embedding's share
SHARPNESS = 1.2  # times q and k after their norms
LOGIT_CAP = 15.0
ROTARY_THETA = 100_000.0
ROTARY_REACH = 10  # times the context: how far nanochat's tables of sines and cosines go
_PADDED = 64  # the vocabulary is padded to a multiple of it


class Nanochat(Architecture):
    """nanochat's shape; its scripts take n_embd 64 n_layer and heads 128 wide."""

    architecture: Literal["nanochat"] = "nanochat"
    vocab_size: Vocabulary = 32_768
    context_length: Context = 2048
    tied_embeddings: bool = False
    n_kv_head: Heads | None = None  # G: heads of keys and values, each shared by H / G heads of queries; None: n_head
    window_pattern: Annotated[str, Field(pattern="^[SL]+$")] = "SSSL"  # S short, L long; tiled, the last layer is L

    kind: ClassVar[tuple[str, ...]] = ("n_layer", "n_head", "n_kv_head", "vocab_size", "window_pattern")
    alike: ClassVar[bool] = False
    autocasts: ClassVar[bool] = False
    looked_up: ClassVar[frozenset[str]] = frozenset({"value_embed.weight"})
    embedding: ClassVar[str] = "trunk.wte.weight"
    stack: ClassVar[str] = "trunk.h"
    grow: ClassVar[Growth] = Growth(head_width=128, least=64, most=64, deepest=34)  # d34 is the largest published

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        self._heads_divide_width()
        if self.n_head % (self.n_kv_head or 1):
            raise ValueError(
                f"n_kv_head {self.n_kv_head} does not divide n_head {self.n_head}: "
                "each key-value head is shared by equally many heads"
            )
        if self.dims.D % 2:
            raise ValueError(f"a head is {self.dims.D} wide: rotary positions turn pairs, so it must be even")
        if self.n_embd < SMEAR_CHANNELS:
            raise ValueError(f"n_embd {self.n_embd}: nanochat's gates look at {SMEAR_CHANNELS} channels of a token")
        if self.tied_embeddings or self.dropout:
            raise ValueError("nanochat has neither tied embeddings nor dropout")
        return self

    @property
    def padded(self) -> bool:
        """Whether the head has rows for no token, whose logits are cut off."""
        return self.vocab_size % _PADDED > 0

    @property
    def short_window(self) -> int:
        """Tokens that a layer of kind S looks back."""
        return int(_short_window(self.context_length))

    def window(self, n: Dims, /) -> Any:
        """Return a quarter of the context, up to whole tiles."""
        return _short_window(n.S)

    def has_value_embedding(self, layer: int) -> bool:
        """Return whether a layer has one: every other, the top one among them."""
        return (self.n_layer - 1 - layer) % 2 == 0

    def windows(self, T: int) -> list[int | None]:
        """Return how far each layer looks back in a sequence of T tokens; None: all of it."""
        pattern, short = self.window_pattern, self.short_window
        kinds = [pattern[layer % len(pattern)] for layer in range(self.n_layer - 1)] + ["L"]
        return [short if kind == "S" and short < T else None for kind in kinds]

    def _kinds(self, T: int, /) -> tuple[Any, ...]:
        masks = "".join("L" if window is None else "S" for window in self.windows(T))
        heads = STANDS_FOR[sharing(self.n_head, self.n_kv_head)]
        return self.n_layer, *heads, self.vocab_size if self.padded else _PADDED, masks

    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes for depth L, H heads and width C."""
        G = key_value_heads(H, self.n_head, self.n_kv_head)
        return Dims(L, C, H, G, C // H, 4 * C, -(-self.vocab_size // _PADDED) * _PADDED, self.context_length)

    def misfit(self, train: TrainSpec, /) -> str | None:
        """Return what of a recipe nanochat has no place for."""
        if train.loss.name == "chunked":
            return "a chunked loss takes logits as they are, and nanochat caps them"
        if train.loss.returns_logits:
            return "returns_logits is nanoGPT's forward: nanochat's returns the loss alone"
        if train.checkpointing == "block" and train.checkpoint_every > 1:
            return "nanochat's blocks are not alike: checkpoint_every must be 1"
        return None

    def held_in(self, name: str, weights: Dtype, products: Dtype, /) -> Dtype:
        """Return the element type: embeddings are as narrow as products, but in fp16."""
        looked_up = name in {self.embedding, *self.looked_up}
        return products if looked_up and products.name != "float16" else weights

    def buffers(self, n: Dims, /) -> Shapes:
        """Return the rotary tables."""
        return {f"trunk.{name}": (ROTARY_REACH * n.S, n.D // 2) for name in ("cosines", "sines")}

    def below(self, n: Dims) -> Shapes:
        """Return the factors of layers, the token embedding and smear's gate."""
        return {
            "trunk.resid_lambdas": (n.L,),
            "trunk.x0_lambdas": (n.L,),
            "trunk.smear_lambda": (1,),
            "trunk.backout_lambda": (1,),
            self.embedding: (n.V, n.C),
            "trunk.smear_gate.weight": (1, SMEAR_CHANNELS),
        }

    def block(self, n: Dims, layer: int = 0, /) -> Shapes:
        """Return the weights of a block."""
        return self._block_weights(n, embeds=self.has_value_embedding(layer))

    def _block_weights(self, n: Dims, *, embeds: bool) -> Shapes:
        C, kv = n.C, n.G * n.D
        return {
            **({"value_embed.weight": (n.V, kv)} if embeds else {}),
            "attn.c_q.weight": (C, C),
            "attn.c_k.weight": (kv, C),
            "attn.c_v.weight": (kv, C),
            "attn.c_proj.weight": (C, C),
            **({"attn.ve_gate.weight": (n.G, GATE_CHANNELS)} if embeds else {}),
            "mlp.c_fc.weight": (4 * C, C),
            "mlp.c_proj.weight": (C, 4 * C),
        }

    def above(self, n: Dims) -> Shapes:
        """Return the head's weight."""
        return {self.head: (n.V, n.C)}

    def capacity(self, n: Dims) -> Any:
        """Return the elements without value embeddings, which are looked up; nanochat's own horizon counts none."""
        return self.parameters(n) - (n.L + 1) // 2 * n.V * n.G * n.D

    def over_blocks(self, n: Dims, count: Callable[[Shapes], Any]) -> Any:
        """Return the sum over all blocks, every other of which has a value embedding."""
        embedding = (n.L + 1) // 2
        plain = count(self._block_weights(n, embeds=False))
        return n.L * plain + embedding * (count(self._block_weights(n, embeds=True)) - plain)

    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C); what nanoGPT's forward would have a name for, autograd keeps here."""
        del names
        first, middle = [], []

        def embed() -> Tensor:
            first.append(self._embed(ops, idx, w))
            return first[0]

        def block(x: Tensor, own: Mapping[str, Leaf], layer: int) -> Tensor:
            x = ops.add(_scaled(ops, w["trunk.resid_lambdas"], x), _scaled(ops, w["trunk.x0_lambdas"], first[0]))
            ve = None
            if "value_embed.weight" in own:
                ve = ops.cast(ops.embedding(own["value_embed.weight"], idx), x.dtype, "value embeddings")
            x = ops.add(x, self._attention(ops, _norm(ops, x), ve, {**w, **own}, n, layer))
            x = ops.add(x, self._mlp(ops, _norm(ops, x), own))
            if layer == self.n_layer // 2:
                middle.append(x)
            return x

        x = blocks(embed, block)
        backout = ops.cast(w["trunk.backout_lambda"].tensor, x.dtype, "lambdas")
        x = ops.sub(x, ops.mul(backout, middle.pop(), keeps="residual stream, kept", makes="backout"))
        return ops.rms_norm(x, name="final RMSNorm", keeps="final RMSNorm input")

    def _embed(self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf]) -> Tensor:
        """Return the token embeddings, normalised, to each of which a share of the token's before it is added."""
        x = ops.cast(ops.embedding(w[self.embedding], idx), ops.tape.products, "embeddings")
        x = ops.rms_norm(x, name="embeddings", keeps="embeddings")
        B, T, C = x.shape
        later = (B, T - 1, C)
        seen = ops.rows(ops.part(ops.part(x, *later), B, T - 1, SMEAR_CHANNELS), "smear's gates: inputs")
        gate = ops.linear(seen, w["trunk.smear_gate.weight"], keeps="smear's gates: inputs", makes="smear's gates")
        gate = ops.saturating(gate, "smear's gates")
        factor = ops.cast(w["trunk.smear_lambda"].tensor, x.dtype, "lambdas")
        gate = ops.mul(factor, gate, keeps="smear's gates", makes="smear's gates")
        before = ops.mul(gate, ops.part(x, *later), keeps="embeddings after norm", makes="smear")
        smeared = ops.add(ops.part(x, *later), before, "smear")
        del before
        return ops.cat([ops.part(x, B, 1, C), smeared], (B, T, C), "embeddings after smear")

    def _attention(
        self, ops: Eager, x: Tensor, ve: Tensor | None, w: Mapping[str, Leaf], n: Dims, layer: int
    ) -> Tensor:
        (B, T, _), inputs = x.shape, "RMSNorm outputs"
        q, k, v = (ops.linear(x, w[f"attn.c_{name}.weight"], keeps=inputs, makes="q, k, v") for name in "qkv")
        if ve is not None:
            seen = ops.part(x, B, T, GATE_CHANNELS)
            gate = ops.linear(seen, w["attn.ve_gate.weight"], keeps=inputs, makes="value gates")
            gate = ops.pointwise(ops.saturating(gate, "value gates"), "value gates")
            gate, heads = ops.viewed(gate, B, T, n.G, 1), ops.viewed(ve, B, T, n.G, n.D)
            gated = ops.mul(gate, heads, keeps="value embeddings", makes="value embeddings, gated")
            v = ops.add(v, ops.viewed(gated, *v.shape), "q, k, v")
            del gated
        q, k = _rotated(ops, q, n.H, w, n), _rotated(ops, k, n.G, w, n)
        q, k = (ops.rms_norm(x, name="q, k", keeps="q, k before their norm") for x in (q, k))
        q = ops.pointwise(q, "q, k, v")
        k = ops.pointwise(k, "q, k, v")
        q, k = ops.viewed(q, *x.shape), ops.viewed(k, *v.shape)
        window = _short_window(n.S) if self.window_pattern[layer] == "S" else None
        y = ops.attention(q, k, v, n_head=n.H, window=window, sharing=sharing(self.n_head, self.n_kv_head))
        return ops.linear(y, w["attn.c_proj.weight"], keeps="attention outputs", makes="attention projection")

    def _mlp(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
        hidden = ops.linear(x, w["mlp.c_fc.weight"], keeps="RMSNorm outputs", makes="MLP hidden")
        hidden = ops.saturating(hidden, "MLP hidden, after ReLU")
        hidden = ops.square(hidden, keeps="MLP hidden, after ReLU", makes="MLP hidden, squared")
        return ops.linear(hidden, w["mlp.c_proj.weight"], keeps="MLP hidden, squared", makes="MLP output")

    def capped(self, ops: Eager, logits: Tensor, /) -> Tensor:
        """Return the logits of real tokens in fp32, squeezed into -15 to 15."""
        if self.padded:
            logits = ops.part(logits, *logits.shape[:-1], self.vocab_size)
        logits = ops.wide(logits, "logits in fp32")
        small = ops.pointwise(logits, "logits over their cap")
        small = ops.saturating(small, "capped logits over their cap")
        return ops.pointwise(small, "capped logits")


def _short_window(context: Any) -> Any:
    """Return a quarter of the context, up to a multiple of 128."""
    return (context + 511) // 512 * 128


def _norm(ops: Eager, x: Tensor) -> Tensor:
    return ops.rms_norm(x, keeps="RMSNorm inputs")


def _scaled(ops: Eager, lambdas: Leaf, x: Tensor) -> Tensor:
    """Return x times its layer's number."""
    return ops.mul(ops.part(lambdas.tensor), x, keeps="layer inputs")


def _rotated(ops: Eager, x: Tensor, heads: Any, w: Mapping[str, Leaf], n: Dims) -> Tensor:
    """Return x (B, T, heads, D) with pairs of its channels turned: the first half of a head's with the second."""
    B, T, _ = x.shape
    half = (B, T, heads, n.D // 2)
    left, right = ops.part(x, *half), ops.part(x, *half)
    cosines, sines = (ops.part(w[name].tensor, T, 1, n.D // 2) for name in ("trunk.cosines", "trunk.sines"))
    first = ops.add(_turned(ops, cosines, left), _turned(ops, sines, right), "q, k turned")
    against = ops.pointwise(sines, "negated sines")
    second = ops.add(_turned(ops, against, left), _turned(ops, cosines, right), "q, k turned")
    return ops.cat([first, second], (B, T, heads, n.D), "q, k before their norm")


def _turned(ops: Eager, table: Tensor, x: Tensor) -> Tensor:
    return ops.turned(x, table, "q, k turned")
