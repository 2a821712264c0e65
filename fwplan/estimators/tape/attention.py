"""Causal attention in eager torch: fused, where the scores never exist, and by formula, where they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fwplan.estimators.dtypes import BOOL, FLOAT32, INT64
from fwplan.estimators.tape.size import Size, expression
from fwplan.estimators.tape.tape import Tensor

if TYPE_CHECKING:
    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Gradients, Tape

Kernel = Literal["flash", "efficient", "formula"]
STATISTICS = "norm and attention statistics"


def up(size: Size, to: int) -> Size:
    """Return a size rounded up to a multiple."""
    return expression(f"-(-({size!r}) // {to}) * {to}")


def fused(tape: Tape, q: Tensor, k: Tensor, v: Tensor, n_head: Size, *, flash: bool) -> Tensor:
    """Return attention by one kernel: kept are q, k, v, the output and a log-sum-exp a row.

    FlashAttention 2's backward sums dq in fp32, rows rounded up to 128 tokens and heads to 32 elements, and a number a
    row: aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd. The efficient kernel's log-sum-exp
    has rows of 32 tokens: aten/src/ATen/native/transformers/cuda/attention.cu.
    """
    (B, T, width), dtype, cuda = q.shape, q.dtype, tape.cuda
    shapes = [x.shape for x in (q, k, v)]
    out = tape.save("attention outputs", q.shape, dtype)
    rows = tape.save(STATISTICS, (B, n_head, up(T, 32) if cuda and not flash else T), FLOAT32)
    random = [tape.save("attention's random state", (), INT64) for _ in range(2 if cuda else 0)]
    kept = tape.keep(q.storage, k.storage, v.storage, out, rows, *random)
    del rows, random

    def backward(given: Gradients) -> Gradients:
        head = up(expression(f"({width!r}) // ({n_head!r})"), 32)
        scratch = (
            tape.new("flash attention's backward", (B, n_head, up(T, 128), head + 1), FLOAT32)
            if flash and cuda
            else None
        )
        made: Gradients = [tape.make("gradient: q, k, v", shape, dtype) for shape in shapes]
        del scratch
        given.clear()
        kept.clear()
        return made

    return tape.op([q, k, v], Tensor(out, q.shape, dtype), backward, kept)


def by_formula(ops: Eager, q: Tensor, k: Tensor, v: Tensor, n_head: Size, dropout: float) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v with every score (B, H, T, T) in memory, as fwplan/model/gpt.py writes it out.

    Batched products take their operands laid out: q, k and v are copied, and the copies are kept. softmax is fp32 under
    CUDA's autocast, else in the products' element type.
    """
    tape, dtype, (B, T, _) = ops.tape, q.dtype, q.shape
    shape = (B, n_head, T, T)
    future = tape.save("causal mask", (T, T), BOOL)
    scores = _product(ops, ops.laid_out(q, "q, k, v"), ops.laid_out(k, "q, k, v"), shape, "scores")
    scores = ops.pointwise(scores, "scores")  # over sqrt(D)
    scores = ops.pointwise(scores, "scores", mask=future)  # masked
    wide = ops.cast(scores, FLOAT32, "scores in fp32") if tape.cuda and tape.autocast else scores
    weights = ops.softmax(wide, "attention probabilities")
    del wide, scores
    weights = ops.dropout(weights, dropout, "attention probabilities after dropout")
    weights = ops.cast(weights, dtype, "attention probabilities, half")
    y = _product(ops, weights, ops.laid_out(v, "q, k, v"), q.shape, "attention by head")
    del weights, future
    return ops.laid_out(y, "attention outputs")


def _product(ops: Eager, x: Tensor, y: Tensor, shape: tuple[Size, ...], makes: str) -> Tensor:
    """Return a batched product of two activations; it keeps both."""
    tape, dtype, kept = ops.tape, x.dtype, ops.tape.keep(x.storage, y.storage)
    of_x, of_y = (x.storage.kind.name, x.shape), (y.storage.kind.name, y.shape)

    def backward(given: Gradients) -> Gradients:
        made: Gradients = [tape.make(f"gradient: {name}", like, dtype) for name, like in (of_x, of_y)]
        given.clear()
        kept.clear()
        return made

    return tape.op([x, y], tape.make(makes, shape, dtype), backward, kept)
