"""llama, once: its shape, its weights, its forward as ops. RMSNorm, rotary positions, grouped queries, SwiGLU.

Its switches make it Llama 2 and 3, Qwen 2 and 3 (dense), SmolLM, TinyLlama, minimind. Weights are called as in
transformers' LlamaForCausalLM, Qwen2ForCausalLM and Qwen3ForCausalLM, with `trunk` for their `model`.

B micro-batch, T sequence, C width, H heads, G key-value heads, D width of a head, F feed-forward width, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from fwplan.fields import Heads, Width  # noqa: TC001  # pydantic reads them
from fwplan.model.architecture import Architecture, Dims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.model.architecture import Blocks, Names, Shapes


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

    @property
    def grouped(self) -> bool:
        """Whether several heads of queries share one of keys and values."""
        return self.n_kv_head not in {None, self.n_head}

    def _kinds(self, T: int, /) -> tuple[Any, ...]:
        return (*super()._kinds(T)[:-2], 2 if self.grouped else 1, 1)

    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes for depth L, H heads and width C.

        As many heads share a key-value head as in this model; where that does not divide H, each has its own.
        """
        shared = self.n_head // (self.n_kv_head or self.n_head)
        G = H // (1 + (shared - 1) * (H % shared == 0))
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

    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C)."""
        raise NotImplementedError


def _affine(name: str, out: Any, ins: Any, *, bias: bool) -> Shapes:
    return {f"{name}.weight": (out, ins)} | ({f"{name}.bias": (out,)} if bias else {})
