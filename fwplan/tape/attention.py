"""Causal attention in eager torch: fused, where the scores never exist, and by formula, where they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fwplan.tape.dtypes import BOOL, FLOAT32, INT64
from fwplan.tape.size import ZERO, Size, expression
from fwplan.tape.tape import Tensor

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.eager import Eager
    from fwplan.tape.tape import Gradients, Storage, Tape

Kernel = Literal["flash", "efficient", "formula"]
Sharing = Literal["own", "one", "several"]  # of keys and values: each head its own, all one, or several among them
STATISTICS = "norm and attention statistics"
_SCRATCH = "flash attention's backward"


def up(size: Size, to: int) -> Size:
    """Return a size rounded up to a multiple."""
    return expression(f"-(-({size!r}) // {to}) * {to}")


def window_mask(tape: Tape, T: Size) -> Storage:
    """Return which keys (T, T) each of T queries looks at, its own and those before it up to a number of them."""
    causal = tape.new("window mask", (T, T), BOOL)
    distance = tape.new("window mask: distances", (T, T), INT64)
    near = tape.new("window mask", (T, T), BOOL)
    del distance
    both = tape.new("window mask", (T, T), BOOL)
    del causal, near
    return both


def fused(
    tape: Tape,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    n_head: Size,
    *,
    flash: bool,
    mask: Storage | None = None,
    grouped: bool = False,
) -> Tensor:
    """Return attention by one kernel: kept are q, k, v, the output and a log-sum-exp a row.

    A boolean mask is kept in the products' type, as what is added to scores, on CUDA with rows padded to 8 elements
    (preprocess_mask, aten/src/ATen/native/transformers/attention.cpp); FlashAttention takes none.

    FlashAttention 2's backward sums dq in fp32, rows rounded up to 128 tokens and heads to 32 elements, and a number a
    row; grouped queries make dk and dv for every head, then sum those that share one:
    aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd. The efficient kernel's log-sum-exp
    has rows of 32 tokens: aten/src/ATen/native/transformers/cuda/attention.cu.
    """
    (B, T, width), dtype, cuda = q.shape, q.dtype, tape.cuda
    shapes = q_shape, *_ = [x.shape for x in (q, k, v)]
    masks = [] if mask is None else [_added_mask(tape, T, dtype)]
    out = tape.save("attention outputs", q.shape, dtype)
    rows = tape.save(STATISTICS, (B, n_head, up(T, 32) if cuda and not flash else T), FLOAT32)
    random = [tape.save("attention's random state", (), INT64) for _ in range(2 if cuda else 0)]
    kept = tape.keep(q.storage, k.storage, v.storage, out, rows, *random, *masks)
    del rows, random, masks

    def backward(given: Gradients) -> Gradients:
        head = up(expression(f"({width!r}) // ({n_head!r})"), 32)
        scratch = [tape.new(_SCRATCH, (B, n_head, up(T, 128), head + 1), FLOAT32)] if flash and cuda else []
        if grouped and scratch:
            scratch += [tape.new(_SCRATCH, q_shape, dtype) for _ in "kv"]
        made: Gradients = [tape.make("gradient: q, k, v", shape, dtype) for shape in shapes]
        del scratch
        given.clear()
        kept.clear()
        return made

    return tape.op([q, k, v], Tensor(out, q.shape, dtype), backward, kept)


def _added_mask(tape: Tape, T: Size, dtype: Dtype) -> Storage:
    pads = expression(f"{T!r} % 8 > 0") if tape.cuda else ZERO
    unpadded = tape.new("attention mask, before padding", (pads * T, T), dtype)
    padded = tape.save("attention masks", (T, up(T, 8) if tape.cuda else T), dtype)
    del unpadded
    return padded


def by_formula(
    ops: Eager, q: Tensor, k: Tensor, v: Tensor, n_head: Size, dropout: float, *, repeated: bool = False
) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v with all scores (B, H, T, T) in memory.

    As fwplan/model/modules/attention.py writes it out. Batched products take their operands laid out: q, k and v are
    copied, and the copies are kept; repeated k and v are such copies already. softmax is fp32 under CUDA's autocast,
    else in the products' element type.
    """
    tape, dtype, (B, T, _) = ops.tape, q.dtype, q.shape
    shape = (B, n_head, T, T)
    future = tape.save("causal mask", (T, T), BOOL)
    scores = _product(ops, ops.laid_out(q, "q, k, v"), k if repeated else ops.laid_out(k, "q, k, v"), shape, "scores")
    scores = ops.pointwise(scores, "scores")  # over sqrt(D)
    scores = ops.pointwise(scores, "scores", mask=future)  # masked
    wide = ops.cast(scores, FLOAT32, "scores in fp32") if tape.cuda and tape.autocast else scores
    weights = ops.saturating(wide, "attention probabilities")
    del wide, scores
    weights = ops.dropout(weights, dropout, "attention probabilities after dropout")
    weights = ops.cast(weights, dtype, "attention probabilities, half")
    y = _product(ops, weights, v if repeated else ops.laid_out(v, "q, k, v"), q.shape, "attention by head")
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
