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

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.model.architecture import Blocks, Names, Shapes


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

    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C)."""
        raise NotImplementedError


def _with_bias(name: str, *shape: Any) -> Shapes:
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
