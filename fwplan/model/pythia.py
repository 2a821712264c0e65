"""Pythia (GPT-NeoX), once: its shape, its weights, its forward as ops.

Attention and MLP stand side by side on one residual; LayerNorm, biases everywhere, GELU, rotary positions on a part of
each head. Weights are called as in transformers' GPTNeoXForCausalLM, with `trunk` for its `gpt_neox` (older ones call
`lm_head` embed_out); q, k and v are cut per head, as there.

B micro-batch, T sequence, C width, H heads, D width of a head, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fwplan.fields import Width  # noqa: TC001  # pydantic reads it
from fwplan.model.architecture import Architecture, Dims
from fwplan.model.growth import Growth
from fwplan.tape.dtypes import FLOAT32
from fwplan.tape.rotary import TABLES, rotary_share

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwplan.model.architecture import Blocks, Names, Shapes
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.eager import Eager
    from fwplan.tape.tape import Leaf, Tensor


class Pythia(Architecture):
    """Pythia's shape."""

    architecture: Literal["pythia"] = "pythia"
    tied_embeddings: bool = False
    n_hidden: Width | None = None  # F; None: 4 C
    rotary_share: Annotated[float, Field(gt=0, le=1)] = 0.25  # of a head's width, rounded down to an even number
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0

    kind: ClassVar[tuple[str, ...]] = ("tied_embeddings", "rotary_share")
    embedding: ClassVar[str] = "trunk.embed_in.weight"
    stack: ClassVar[str] = "trunk.layers"
    grow: ClassVar[Growth] = Growth(most=128)  # from Pythia 410M's width over depth to that of 1B

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        self._heads_divide_width()
        if not self.turned(self.dims.D):
            raise ValueError(
                f"rotary_share {self.rotary_share:g} of a head {self.dims.D} wide is less than the 2 that turn together"
            )
        return self

    def turned(self, D: Any) -> Any:
        """Return how much of a head's width carries positions: an even number."""
        return D * round(100 * self.rotary_share) // 200 * 2

    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes for depth L, H heads and width C."""
        return Dims(L, C, H, H, C // H, self.n_hidden or 4 * C, self.vocab_size, self.context_length)

    def below(self, n: Dims) -> Shapes:
        """Return the token embedding."""
        return {self.embedding: (n.V, n.C)}

    def block(self, n: Dims, _layer: int = 0, /) -> Shapes:
        """Return the weights of a block."""
        C = n.C
        return {
            **_with_bias("input_layernorm", C),
            **_with_bias("post_attention_layernorm", C),
            **_with_bias("attention.query_key_value", 3 * C, C),
            **_with_bias("attention.dense", C, C),
            **_with_bias("mlp.dense_h_to_4h", n.F, C),
            **_with_bias("mlp.dense_4h_to_h", C, n.F),
        }

    def above(self, n: Dims) -> Shapes:
        """Return the last norm's weights, and the head's where it is not tied."""
        return _with_bias("trunk.final_layer_norm", n.C) | ({} if self.tied_embeddings else {self.head: (n.V, n.C)})

    def buffers(self, n: Dims, /) -> Shapes:
        """Return the tables of rotary positions."""
        return dict.fromkeys(TABLES, (n.S, self.turned(n.D) // 2))

    def tables_in(self, _products: Dtype, /) -> Dtype:
        """Return fp32."""
        return FLOAT32

    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C); nothing below the head has a name that outlives it."""
        del names

        def embed() -> Tensor:
            return ops.dropout(ops.embedding(w[self.embedding], idx), self.dropout, "embeddings after dropout")

        tables = [w[name].tensor for name in TABLES]
        x = blocks(embed, lambda x, w, _layer: self._block(ops, x, w, n, tables))
        return ops.layer_norm(
            x, *_of(w, "trunk.final_layer_norm"), name="final LayerNorm", keeps="final LayerNorm input"
        )

    def _block(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims, tables: Sequence[Tensor]) -> Tensor:
        y = ops.add(x, self._attention(ops, _normed(ops, x, w, "input_layernorm"), w, n, tables))
        return ops.add(y, self._mlp(ops, _normed(ops, x, w, "post_attention_layernorm"), w))

    def _attention(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims, tables: Sequence[Tensor]) -> Tensor:
        B, T, C = x.shape
        qkv = ops.linear(x, *_of(w, "attention.query_key_value"), keeps="LayerNorm outputs", makes="q, k, v joined")
        q, k, v = ops.split(ops.viewed(qkv, B, T, n.H, 3 * n.D), (n.D, n.D, n.D), "q, k, v")
        q, k = (rotary_share(ops, x, self.turned(n.D), tables) for x in (q, k))
        v = ops.laid_out(v, "q, k, v")
        del qkv
        q, k, v = (ops.viewed(x, B, T, C) for x in (q, k, v))
        y = ops.attention(q, k, v, n_head=n.H, dropout=self.dropout)
        y = ops.linear(y, *_of(w, "attention.dense"), keeps="attention outputs", makes="attention projection")
        return ops.dropout(y, self.dropout, "attention projection after dropout")

    def _mlp(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
        hidden = ops.linear(x, *_of(w, "mlp.dense_h_to_4h"), keeps="LayerNorm outputs", makes="MLP hidden")
        hidden = ops.activation(hidden, keeps="MLP hidden, before GELU", makes="MLP hidden, after GELU")
        hidden = ops.linear(hidden, *_of(w, "mlp.dense_4h_to_h"), keeps="MLP hidden, after GELU", makes="MLP output")
        return ops.dropout(hidden, self.dropout, "MLP output after dropout")


def _normed(ops: Eager, x: Tensor, w: Mapping[str, Leaf], name: str) -> Tensor:
    return ops.layer_norm(x, *_of(w, name), keeps="LayerNorm inputs")


def _of(w: Mapping[str, Leaf], name: str) -> tuple[Leaf, Leaf]:
    return w[f"{name}.weight"], w[f"{name}.bias"]


def _with_bias(name: str, *shape: Any) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
