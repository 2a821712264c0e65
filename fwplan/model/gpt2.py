"""GPT-2, once: its shape, its weights, its forward as ops. Pre-norm blocks, learned positions, GELU MLP of four widths.

The nn.Module that is trained stands beside it, because people read, checkpoint, compile and take over modules; that it
keeps and makes what is written here is held byte for byte by tests against its trace.

B micro-batch, T sequence, C width, H heads, V vocabulary, S longest context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import model_validator

from fwplan.model.architecture import Architecture, Dims

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.model.architecture import Blocks, Names, Shapes


class GPT2(Architecture):
    """GPT-2's shape; `bias` stands for those of all linear layers and norms."""

    architecture: Literal["gpt2"] = "gpt2"
    bias: bool = False

    kind: ClassVar[tuple[str, ...]] = ("tied_embeddings", "bias")
    embedding: ClassVar[str] = "trunk.wte.weight"
    head: ClassVar[str] = "lm_head.weight"

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        return self._heads_divide_width()

    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes for depth L, H heads and width C: every head has keys and values, feed-forwards are 4 C."""
        return Dims(L, C, H, H, C // H, 4 * C, self.vocab_size, self.context_length)

    @property
    def not_multiplied(self) -> frozenset[str]:
        """Both embeddings are looked up; the tokens' one multiplies too where it is the head."""
        return super().not_multiplied | {"trunk.wpe.weight"}

    def below(self, n: Dims) -> Shapes:
        """Return the embeddings of tokens and positions."""
        return {self.embedding: (n.V, n.C), "trunk.wpe.weight": (n.S, n.C)}

    def block(self, n: Dims) -> Shapes:
        """Return the weights of a block."""
        C = n.C
        return {
            **self._affine("ln_1", C),
            **self._affine("attn.c_attn", 3 * C, C),
            **self._affine("attn.c_proj", C, C),
            **self._affine("ln_2", C),
            **self._affine("mlp.c_fc", 4 * C, C),
            **self._affine("mlp.c_proj", C, 4 * C),
        }

    def above(self, n: Dims) -> Shapes:
        """Return the last norm's weights, and the head's where it is not tied."""
        return self._affine("trunk.ln_f", n.C) | ({} if self.tied_embeddings else {self.head: (n.V, n.C)})

    def positions(self, n: Dims) -> Any:
        """Return the elements of the position embedding."""
        return n.S * n.C

    def _affine(self, name: str, *shape: Any) -> Shapes:
        return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if self.bias else {})

    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C)."""
        here: Names = []  # positions have a name either way: they live to the trunk's end

        def embed() -> Tensor:
            if names is None:
                return self._embed(ops, idx, w, here)
            return self._nanogpt_embed(ops, idx, w, names)

        x = blocks(embed, lambda x, w: self._block(ops, x, w, n))
        return ops.layer_norm(x, *_of(w, "trunk.ln_f"), name="final LayerNorm", keeps="final LayerNorm input")

    def _embed(self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], named: Names) -> Tensor:
        named.append(ops.arange(idx.shape[1]))
        x = ops.add(ops.embedding(w[self.embedding], idx), ops.embedding(w["trunk.wpe.weight"], named[0]))
        return ops.dropout(x, self.dropout, "embeddings after dropout")

    def _nanogpt_embed(self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], named: Names) -> Tensor:
        """Return the same as nanoGPT's model.py writes it, which names both embeddings too."""
        positions, tok_emb = ops.arange(idx.shape[1]), ops.embedding(w[self.embedding], idx)
        named += [positions, tok_emb, ops.embedding(w["trunk.wpe.weight"], positions)]
        return ops.dropout(ops.add(named[1], named[2]), self.dropout, "embeddings after dropout")

    def _block(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims) -> Tensor:
        x = ops.add(x, self._attention(ops, ops.layer_norm(x, *_of(w, "ln_1"), keeps="LayerNorm inputs"), w, n))
        return ops.add(x, self._mlp(ops, ops.layer_norm(x, *_of(w, "ln_2"), keeps="LayerNorm inputs"), w))

    def _attention(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf], n: Dims) -> Tensor:
        C = n.C
        qkv = ops.linear(x, *_of(w, "attn.c_attn"), keeps="LayerNorm outputs", makes="q, k, v")
        q, k, v = ops.split(qkv, (C, C, C), "q, k, v")
        y = ops.attention(q, k, v, n_head=n.H, dropout=self.dropout)
        y = ops.linear(y, *_of(w, "attn.c_proj"), keeps="attention outputs", makes="attention projection")
        return ops.dropout(y, self.dropout, "attention projection after dropout")

    def _mlp(self, ops: Eager, x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
        hidden = ops.linear(x, *_of(w, "mlp.c_fc"), keeps="LayerNorm outputs", makes="MLP hidden")
        hidden = ops.activation(hidden, keeps="MLP hidden, before GELU", makes="MLP hidden, after GELU")
        hidden = ops.linear(hidden, *_of(w, "mlp.c_proj"), keeps="MLP hidden, after GELU", makes="MLP output")
        return ops.dropout(hidden, self.dropout, "MLP output after dropout")


def _of(w: Mapping[str, Leaf], name: str) -> tuple[Leaf, Leaf | None]:
    return w[f"{name}.weight"], w.get(f"{name}.bias")
