"""Attention that torch.compile decomposes: sdpa's formula, whose scores are in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.tape import attention
from fwplan.tape.dtypes import BOOL, FLOAT32

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.fused import Fused
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Backward, Gradients, Kept, Shape, Storage, Tensor


def by_formula(ops: Fused, q: Tensor, k: Tensor, v: Tensor, n_head: Size, dropout: float) -> Tensor:
    """Return attention as inductor runs its formula: fused after all in plain fp32, else with the scores in memory."""
    if q.dtype == FLOAT32 and not dropout:
        return _by_pattern(ops, q, k, v, n_head)
    return _decomposed(ops, q, k, v, n_head, dropout)


def _by_pattern(ops: Fused, q: Tensor, k: Tensor, v: Tensor, n_head: Size) -> Tensor:
    """Return what inductor's sfdp patterns make of it: a fused kernel with an fp32 mask of its own.

    The pattern leaves a copy between the kernel and the projection, and both are kept.
    """
    tape, T = ops.tape, q.shape[1]
    kept = tape.keep(tape.save("causal masks", (T, T), FLOAT32))

    def backward(given: Gradients) -> Gradients:
        kept.clear()
        return [given.pop()]

    y = tape.op([q], q.alias(), backward, kept)  # the mask lives as long as the kernel's inputs
    out = attention.fused(tape, y, k, v, n_head, flash=False)
    out.storage.rename("attention outputs, laid out again")
    return ops.copied(out, "attention outputs")


def _decomposed(ops: Fused, q: Tensor, k: Tensor, v: Tensor, n_head: Size, dropout: float) -> Tensor:
    """Return the formula's products and softmax in fp32; kept are the probabilities, once, in fp32.

    Under autocast the products are in half precision; in pure bf16 they are in fp32, and q, k and v are kept so.
    Dropout inside attention keeps a mask, a byte a score.
    """
    tape, dtype, (B, T, _) = ops.tape, q.dtype, q.shape
    shape: Shape = (B, n_head, T, T)
    of_products = dtype if tape.autocast else FLOAT32
    if dtype != of_products:
        q, k, v = ops.write(*[ops.cast(x, of_products, "q, k, v in fp32") for x in (q, k, v)])
    scores = tape.new("attention scores", shape, of_products)
    probabilities = tape.save("attention probabilities", shape, FLOAT32)
    del scores
    mask = [tape.save("attention's dropout masks", shape, BOOL)] if dropout else []
    kept = tape.keep(q.storage, k.storage, v.storage, probabilities, *mask)
    narrow = None if of_products == FLOAT32 else tape.new("attention probabilities, half", shape, of_products)
    del probabilities, mask
    out = tape.make("attention outputs", q.shape, of_products)
    del narrow
    backward = _backward(ops, shape, of_products, [x.shape for x in (q, k, v)], kept)
    return ops.cast(tape.op([q, k, v], out, backward, kept), dtype, "attention outputs")


def _backward(ops: Fused, shape: Shape, dtype: Dtype, shapes: list[Shape], kept: Kept) -> Backward:
    tape = ops.tape

    def backward(given: Gradients) -> Gradients:
        tape.write(*[x.storage for x in given if x])
        again: Storage | None = None if dtype == FLOAT32 else tape.new("attention probabilities, half", shape, dtype)
        gv = tape.make("gradient: q, k, v", shapes[2], dtype)
        del again
        of_probabilities = tape.new("gradient: attention probabilities", shape, dtype)
        given.clear()
        of_scores = tape.new("gradient: attention scores", shape, dtype)
        del of_probabilities
        kept.clear()
        gq, gk = (tape.make("gradient: q, k, v", like, dtype) for like in shapes[:2])
        del of_scores
        return [gq, gk, gv]

    return backward
