"""GPT-2, once: its weights, and its forward as ops. Pre-norm blocks, learned positions, GELU MLP of four widths.

The same lines are run on a tape, where sizes are letters (fwplan/estimators/tape), and counted with numbers or arrays.
fwplan/model/gpt.py is the module that is trained: an nn.Module, because people read, checkpoint, compile and take over
modules; that it keeps and makes what is written here is held byte for byte by tests against its trace.

B micro-batch, T sequence, N = B*T, C width, H heads of D, V vocabulary, S longest context.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor

Shapes = dict[str, tuple[Any, ...]]  # of weights by name, in numbers, arrays or letters


def outer_weights(C: Any, V: Any, S: Any, *, bias: bool, tied: bool) -> tuple[Shapes, Shapes]:
    """Return the weights below the blocks, and those above them; a tied head is the token embedding, once."""
    below: Shapes = {"trunk.wte.weight": (V, C), "trunk.wpe.weight": (S, C)}
    above = _affine("trunk.ln_f", C, bias=bias)
    return below, above if tied else above | {"lm_head.weight": (V, C)}


def block_weights(C: Any, *, bias: bool) -> Shapes:
    """Return the weights of a block."""
    return {
        **_affine("ln_1", C, bias=bias),
        **_affine("attn.c_attn", 3 * C, C, bias=bias),
        **_affine("attn.c_proj", C, C, bias=bias),
        **_affine("ln_2", C, bias=bias),
        **_affine("mlp.c_fc", 4 * C, C, bias=bias),
        **_affine("mlp.c_proj", C, 4 * C, bias=bias),
    }


def _affine(name: str, *shape: Any, bias: bool) -> Shapes:
    return {f"{name}.weight": shape} | ({f"{name}.bias": shape[:1]} if bias else {})


def embed(ops: Eager, idx: Tensor, w: Mapping[str, Leaf], *, dropout: float, named: list[Tensor]) -> Tensor:
    """Return the embeddings (B, T, C) of token ids (B, T). Positions have a name: they live to the forward's end."""
    named.append(ops.arange(idx.shape[1]))
    x = ops.add(ops.embedding(w["trunk.wte.weight"], idx), ops.embedding(w["trunk.wpe.weight"], named[0]))
    return ops.dropout(x, dropout, "embeddings after dropout")


def nanogpt_embed(ops: Eager, idx: Tensor, w: Mapping[str, Leaf], *, dropout: float, named: list[Tensor]) -> Tensor:
    """Return the same as nanoGPT's model.py writes it, which names both embeddings too."""
    positions, tok_emb = ops.arange(idx.shape[1]), ops.embedding(w["trunk.wte.weight"], idx)
    named += [positions, tok_emb, ops.embedding(w["trunk.wpe.weight"], positions)]
    return ops.dropout(ops.add(named[1], named[2]), dropout, "embeddings after dropout")


def block(ops: Eager, x: Tensor, w: Mapping[str, Leaf], *, n_head: Any, dropout: float) -> Tensor:
    """Return a block's output (B, T, C)."""
    x = ops.add(x, _attention(ops, ops.layer_norm(x, *_of(w, "ln_1"), keeps="LayerNorm inputs"), w, n_head, dropout))
    return ops.add(x, _mlp(ops, ops.layer_norm(x, *_of(w, "ln_2"), keeps="LayerNorm inputs"), w, dropout))


def _attention(ops: Eager, x: Tensor, w: Mapping[str, Leaf], n_head: Any, dropout: float) -> Tensor:
    C = x.shape[-1]
    qkv = ops.linear(x, *_of(w, "attn.c_attn"), keeps="LayerNorm outputs", makes="q, k, v")
    q, k, v = ops.split(qkv, (C, C, C), "q, k, v")
    y = ops.attention(q, k, v, n_head=n_head, dropout=dropout)
    y = ops.linear(y, *_of(w, "attn.c_proj"), keeps="attention outputs", makes="attention projection")
    return ops.dropout(y, dropout, "attention projection after dropout")


def _mlp(ops: Eager, x: Tensor, w: Mapping[str, Leaf], dropout: float) -> Tensor:
    hidden = ops.linear(x, *_of(w, "mlp.c_fc"), keeps="LayerNorm outputs", makes="MLP hidden")
    hidden = ops.activation(hidden, keeps="MLP hidden, before GELU", makes="MLP hidden, after GELU")
    hidden = ops.linear(hidden, *_of(w, "mlp.c_proj"), keeps="MLP hidden, after GELU", makes="MLP output")
    return ops.dropout(hidden, dropout, "MLP output after dropout")


def final_norm(ops: Eager, x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
    """Return the head's input (B, T, C)."""
    return ops.layer_norm(x, *_of(w, "trunk.ln_f"), name="final LayerNorm", keeps="final LayerNorm input")


def _of(w: Mapping[str, Leaf], name: str) -> tuple[Leaf, Leaf | None]:
    return w[f"{name}.weight"], w.get(f"{name}.bias")
