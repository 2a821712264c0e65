"""What an evaluation of a compiled model needs: a forward without gradients, of its own micro-batch, between steps.

Only where that micro-batch is larger than the training one. M are its tokens. The no-grad graph fuses more than the
training one: no fp32 logits, GELU in place, and a weight is cast just before its matmul and then let go. What makes it
wide is reuse: the MLP's hidden layer of one block is kept for the next block's, through that block's attention.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVALUATION, Phase
from fwplan.estimators.sizes import smaller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_REAL = "real compiled CPU evaluations, torch 2.13: the tensors alive at the peak"


def _line(
    phase: Phase, name: str, size: int, shape: tuple[int, ...] | None, dtype: str | None, formula: str, source: str
) -> Line:
    """Return a line that is alive in phases of an evaluation alone."""
    return Line(f"evaluation: {name}", size, shape, dtype, phase, "transient", formula, source)


_in_block = partial(_line, Phase.EVALUATION_BLOCK)
_in_loss = partial(_line, Phase.EVALUATION_LOSS)


def compiled_evaluation_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive at the wide moments of a compiled evaluation; nothing where a training step needs more."""
    if not s.evaluates:
        return
    yield _batch(s)
    yield from _block_lines(s)
    yield from _chunked_lines(s) if s.chunked else _loss_lines(s)


def _batch(s: Sizes) -> Line:
    """Return an evaluation's token ids and targets."""
    return _line(EVALUATION, "batch", 16 * s.evaluated, None, "int64", "2*8*M", "token ids and targets")


def _block_lines(s: Sizes) -> Iterator[Line]:
    M, C = s.evaluated, s.C
    yield _in_block("residual stream", s.r * M * C, (M, C), s.r_dtype, "r*M*C", _REAL)
    yield _in_block("norm output, q, k, v, attention", 5 * s.a * M * C, None, s.a_dtype, "5*a*M*C", _REAL)
    yield _in_block("MLP hidden, kept for reuse", 4 * s.a * M * C, (M, 4 * C), s.a_dtype, "4*a*M*C", _REAL)
    if s.autocast:
        yield _in_block("weight copies", 8 * s.a * C * C, None, s.a_dtype, "8*a*C*C", _REAL)


def _loss_lines(s: Sizes) -> Iterator[Line]:
    M, V, C = s.evaluated, s.V, s.C
    yield _in_loss("head input", s.a * M * C, (M, C), s.a_dtype, "a*M*C", _REAL)
    yield _in_loss("logits", s.a * M * V, (M, V), s.a_dtype, "a*M*V", _REAL)
    if s.autocast:
        yield _in_loss("weight copy of the head", s.a * V * C, (V, C), s.a_dtype, "a*V*C", _REAL)


def _chunked_lines(s: Sizes) -> Iterator[Line]:
    M, V, C = s.evaluated, s.V, s.C
    rows = smaller(s.n, M)
    source = "the loss stays eager: fwplan/model/loss.py"
    yield _in_loss("hidden states", s.r * M * C, (M, C), s.r_dtype, "r*M*C", source)
    yield _in_loss("chunk, logits in fp32", 4 * rows * V, (rows, V), "float32", "4*n*V", source)
    yield _in_loss("chunk, log-probabilities", 4 * rows * V, (rows, V), "float32", "4*n*V", source)
    if s.autocast:
        yield _in_loss("chunk, weight copy of the head", s.a * V * C, (V, C), s.a_dtype, "a*V*C", source)
