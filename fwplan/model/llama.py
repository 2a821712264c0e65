"""llama, once: its shape, its weights, its forward as ops. RMSNorm, rotary positions, grouped queries, SwiGLU.

Its switches make it Llama 2 and 3, Qwen 2 and 3 (dense), SmolLM, TinyLlama, minimind. Weights are called as in
transformers' LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM, with `trunk` for their `model`.

B micro-batch, T sequence, C width, H heads, G key-value heads, D width of a head, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fwplan.fields import Heads, Width  # noqa: TC001  # pydantic reads them
from fwplan.model.architecture import STANDS_FOR, Architecture, Dims, key_value_heads, sharing
from fwplan.model.growth import Growth
from fwplan.tape.dtypes import FLOAT32
from fwplan.tape.rotary import TABLES, rotary

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwplan.model.architecture import Blocks, Names, Shapes
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.eager import Eager
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Leaf, Tensor


class Llama(Architecture):
    """Llama's shape; Qwen 2's has attention_bias "qkv", Qwen 3's qk_norm."""

    architecture: Literal["llama"] = "llama"
    tied_embeddings: bool = False
    n_kv_head: Heads | None = None  # G: heads of keys and values, each shared by H / G heads of queries; None: n_head
    head_width: Width | None = None  # D; None: n_embd / n_head
    n_hidden: Width | None = None  # F; None: llama's rule, 8/3 C up to a multiple of 256
    qk_norm: bool = False  # RMSNorm over each head's queries and keys
    attention_bias: Literal["none", "qkv", "all"] = "none"  # "all": the output projection's too
    mlp_bias: bool = False
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    rope_theta: Annotated[float, Field(gt=1)] = 10_000.0

    kind: ClassVar[tuple[str, ...]] = (
        "tied_embeddings", "qk_norm", "attention_bias", "mlp_bias", "n_head", "n_kv_head",
    )  # fmt: skip
    embedding: ClassVar[str] = "trunk.embed_tokens.weight"
    stack: ClassVar[str] = "trunk.layers"
    # Llama 3.2 1B's heads; from Qwen3 0.6B's width over depth to that of Llama 2 7B
    grow: ClassVar[Growth] = Growth(most=128)

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if self.n_head % (self.n_kv_head or 1):
            raise ValueError(
                f"n_kv_head {self.n_kv_head} does not divide n_head {self.n_head}: "
                "each key-value head is shared by equally many heads"
            )
        if self.head_width is None:
            self._heads_divide_width()
        if self.dims.D % 2:
            raise ValueError(f"a head is {self.dims.D} wide: rotary positions turn pairs, so it must be even")
        return self

    def _kinds(self, T: int, /) -> tuple[Any, ...]:
        return (*super()._kinds(T)[:-2], *STANDS_FOR[sharing(self.n_head, self.n_kv_head)])

    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes for depth L, H heads and width C."""
        G = key_value_heads(H, self.n_head, self.n_kv_head)
        F = self.n_hidden or -(-8 * C // (3 * 256)) * 256
        return Dims(L, C, H, G, self.head_width or C // H, F, self.vocab_size, self.context_length)

    def below(self, n: Dims) -> Shapes:
        """Return the token embedding."""
        return {self.embedding: (n.V, n.C)}

    def block(self, n: Dims, _layer: int = 0, /) -> Shapes:
        """Return the weights of a block."""
        C, q, kv = n.C, n.H * n.D, n.G * n.D
        qkv_bias, out_bias = self.attention_bias != "none", self.attention_bias == "all"
        head_norms: Shapes = {"self_attn.q_norm.weight": (n.D,), "self_attn.k_norm.weight": (n.D,)}
        return {
            "input_layernorm.weight": (C,),
            **_affine("self_attn.q_proj", q, C, bias=qkv_bias),
            **_affine("self_attn.k_proj", kv, C, bias=qkv_bias),
            **_affine("self_attn.v_proj", kv, C, bias=qkv_bias),
            **_affine("self_attn.o_proj", C, q, bias=out_bias),
            **(head_norms if self.qk_norm else {}),
            "post_attention_layernorm.weight": (C,),
            **_affine("mlp.gate_proj", n.F, C, bias=self.mlp_bias),
            **_affine("mlp.up_proj", n.F, C, bias=self.mlp_bias),
            **_affine("mlp.down_proj", C, n.F, bias=self.mlp_bias),
        }

    def above(self, n: Dims) -> Shapes:
        """Return the last norm's weight, and the head's where it is not tied."""
        return {"trunk.norm.weight": (n.C,)} | ({} if self.tied_embeddings else {self.head: (n.V, n.C)})

    def buffers(self, n: Dims, /) -> Shapes:
        """Return the tables of rotary positions."""
        return dict.fromkeys(TABLES, (n.S, n.D // 2))

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
        return ops.rms_norm(x, w["trunk.norm.weight"], name="final RMSNorm", keeps="final RMSNorm input")

    def _block(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims, tables: Sequence[Tensor]) -> Tensor:
        x = ops.add(x, self._attention(ops, _normed(ops, x, w["input_layernorm.weight"]), w, n, tables))
        return ops.add(x, self._mlp(ops, _normed(ops, x, w["post_attention_layernorm.weight"]), w))

    def _attention(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims, tables: Sequence[Tensor]) -> Tensor:
        q = self._positioned(ops, x, w, "q", (n.H, n.D), tables)
        k = self._positioned(ops, x, w, "k", (n.G, n.D), tables)
        v = ops.linear(x, *_of(w, "self_attn.v_proj"), keeps=_INPUTS, makes="q, k, v")
        y = ops.attention(q, k, v, n_head=n.H, dropout=self.dropout, sharing=sharing(self.n_head, self.n_kv_head))
        y = ops.linear(y, *_of(w, "self_attn.o_proj"), keeps="attention outputs", makes="attention projection")
        return ops.dropout(y, self.dropout, "attention projection after dropout")

    def _positioned(
        self,
        ops: Eager,
        x: Tensor,
        w: Mapping[str, Leaf],
        name: str,
        heads: tuple[Size, Size],
        tables: Sequence[Tensor],
    ) -> Tensor:
        """Return queries or keys, turned by their positions: (B, T, C) -> (B, T, heads * D)."""
        B, T, _ = x.shape
        x = ops.linear(x, *_of(w, f"self_attn.{name}_proj"), keeps=_INPUTS, makes="q, k before they turn")
        x = ops.viewed(x, B, T, *heads)
        if self.qk_norm:
            x = ops.rms_norm(x, w[f"self_attn.{name}_norm.weight"], name="q, k", keeps="q, k before their norm")
        return ops.viewed(rotary(ops, x, tables), B, T, heads[0] * heads[1])

    def _mlp(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
        gate = ops.linear(x, *_of(w, "mlp.gate_proj"), keeps=_INPUTS, makes="MLP gate")
        gate = ops.activation(gate, keeps="MLP gate, before SiLU", makes="MLP gate, after SiLU")
        up = ops.linear(x, *_of(w, "mlp.up_proj"), keeps=_INPUTS, makes="MLP hidden")
        hidden = ops.mul(gate, up, keeps="MLP hidden, before the gate", makes="MLP hidden, gated")
        del gate, up
        hidden = ops.linear(hidden, *_of(w, "mlp.down_proj"), keeps="MLP hidden, gated", makes="MLP output")
        return ops.dropout(hidden, self.dropout, "MLP output after dropout")


_INPUTS = "RMSNorm outputs, in the products' type"


def _normed(ops: Eager, x: Tensor, weight: Leaf) -> Tensor:
    """Return x normalised, cast once for the products that take it."""
    return ops.cast(ops.rms_norm(x, weight, keeps="RMSNorm inputs"), ops.tape.products, _INPUTS)


def _of(w: Mapping[str, Leaf], name: str) -> tuple[Leaf, Leaf | None]:
    return w[f"{name}.weight"], w.get(f"{name}.bias")


def _affine(name: str, out: Any, ins: Any, *, bias: bool) -> Shapes:
    return {f"{name}.weight": (out, ins)} | ({f"{name}.bias": (out,)} if bias else {})
