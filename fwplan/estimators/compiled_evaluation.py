"""What an evaluation of a compiled model needs: a forward without gradients, of its own micro-batch, between steps.

Only where that micro-batch is larger than the training one. M are its tokens. The no-grad graph fuses more than the
training one: no fp32 logits, GELU in place, and a weight is cast just before its matmul and then let go. What makes it
wide is reuse: the MLP's hidden layer of one block is kept for the next block's, through that block's attention.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_REAL = "real compiled CPU evaluations, torch 2.13: the tensors alive at the peak"


def compiled_evaluation_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive at the widest moment of a compiled evaluation; nothing where a training step needs more."""
    if not s.evaluated:
        return
    yield _line("batch", 16 * s.evaluated, None, "int64", "2*8*M", "token ids and targets")
    attention, loss = list(_attention_lines(s)), list(_chunked_lines(s) if s.chunked else _loss_lines(s))
    yield from max(attention, loss, key=lambda lines: sum(line.bytes for line in lines))


def _attention_lines(s: Sizes) -> Iterator[Line]:
    M, C = s.evaluated, s.C
    yield _line("residual stream", s.r * M * C, (M, C), s.r_dtype, "r*M*C", _REAL)
    yield _line("norm output, q, k, v, attention", 5 * s.a * M * C, None, s.a_dtype, "5*a*M*C", _REAL)
    yield _line("MLP hidden, kept for reuse", 4 * s.a * M * C, (M, 4 * C), s.a_dtype, "4*a*M*C", _REAL)
    if s.autocast:
        yield _line("weight copies", 8 * s.a * C * C, None, s.a_dtype, "8*a*C*C", _REAL)


def _loss_lines(s: Sizes) -> Iterator[Line]:
    M, V, C = s.evaluated, s.V, s.C
    yield _line("head input", s.a * M * C, (M, C), s.a_dtype, "a*M*C", _REAL)
    yield _line("logits", s.a * M * V, (M, V), s.a_dtype, "a*M*V", _REAL)
    if s.autocast:
        yield _line("weight copy of the head", s.a * V * C, (V, C), s.a_dtype, "a*V*C", _REAL)


def _chunked_lines(s: Sizes) -> Iterator[Line]:
    M, V, C = s.evaluated, s.V, s.C
    rows = min(s.n, M)
    source = "the loss stays eager: fwplan/model/loss.py"
    yield _line("hidden states", s.r * M * C, (M, C), s.r_dtype, "r*M*C", source)
    yield _line("chunk, logits in fp32", 4 * rows * V, (rows, V), "float32", "4*n*V", source)
    yield _line("chunk, log-probabilities", 4 * rows * V, (rows, V), "float32", "4*n*V", source)
    if s.autocast:
        yield _line("chunk, weight copy of the head", s.a * V * C, (V, C), s.a_dtype, "a*V*C", source)


def _line(name: str, size: int, shape: tuple[int, ...] | None, dtype: str, formula: str, source: str) -> Line:
    return Line(f"evaluation: {name}", size, shape, dtype, Phase.EVALUATION, "transient", formula, source)
