"""What an evaluation needs: a forward without gradients, of its own micro-batch, between steps.

Only where that micro-batch is larger than the training one: else a step needs more. M are its tokens. Its peak is in a
block's MLP, in its attention where that materialises the scores, or in the loss: whichever is largest. All traced.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVALUATION, Phase
from fwplan.estimators.sizes import largest, smaller

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_MLP = "traced: block input, residual sum, LayerNorm output, MLP hidden layer before and after GELU"
_SOFTMAX = "traced: masked scores, their fp32 copy under CUDA's autocast, and the softmax"
_CACHE = "the autocast cache, until the forward leaves its context; what is not used yet is not in it"
_LOSS = "traced: the loss's forward, after the blocks have let go of what they computed"


def evaluation_line(
    phase: Phase, name: str, size: int, shape: tuple[int, ...] | None, dtype: str | None, formula: str, source: str
) -> Line:
    """Return a line that is alive in phases of an evaluation alone."""
    return Line(f"evaluation: {name}", size, shape, dtype, phase, "transient", formula, source)


_in_block = partial(evaluation_line, Phase.EVALUATION_BLOCK)
_in_attention = partial(evaluation_line, Phase.EVALUATION_ATTENTION)
_in_loss = partial(evaluation_line, Phase.EVALUATION_LOSS)


def evaluation_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive at each wide moment of an evaluation; nothing where a training step needs more."""
    if not s.evaluates:
        return
    yield evaluation_batch(s)
    yield from _mlp_lines(s)
    if s.scores:
        yield from _attention_lines(s)
    yield from _loss_lines(s)


def evaluation_batch(s: Sizes) -> Line:
    """Return an evaluation's token ids and targets."""
    return evaluation_line(EVALUATION, "batch", 16 * s.evaluated, None, "int64", "2*8*M", "token ids and targets")


def _attention_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive at the softmax of the top block, where attention materialises its scores."""
    M, C = s.evaluated, s.C
    count, width = M * s.H * s.T, 8 + s.a if s.cuda and s.autocast else 2 * s.a
    if s.autocast:
        copies = s.linear * (s.L - 1) + 3 * C * C
        yield _in_attention("weight copies", s.a * copies, None, s.a_dtype, "a*((L-1)*12 + 3)*C*C", _CACHE)
    yield _in_attention("scores", width * count + s.T * s.T, None, None, "(8 + a)*M*H*T + T*T", _SOFTMAX)
    yield _in_attention("q, k, v", 3 * s.a * M * C, (M, 3 * C), s.a_dtype, "3*a*M*C", _SOFTMAX)
    yield _in_attention("residual stream", 2 * s.r * M * C, (M, C), s.r_dtype, "2*r*M*C", _SOFTMAX)


def _mlp_lines(s: Sizes) -> Iterator[Line]:
    """Yield what is alive at the top block's GELU or, with few tokens, at the projection after it.

    There the weight's copy has been made and its output, but the hidden layer before the GELU is gone.
    """
    M, C = s.evaluated, s.C
    if s.autocast:
        yield _in_block(
            "weight copies",
            s.a * (s.linear * s.L - 4 * C * C),
            None,
            s.a_dtype,
            "a*(L*12 - 4)*C*C",
            _CACHE,
        )
    yield _in_block("residual stream", 3 * s.r * M * C, (M, C), s.r_dtype, "3*r*M*C", _MLP)
    yield _in_block("MLP hidden", 8 * s.a * M * C, (M, 4 * C), s.a_dtype, "2*4*a*M*C", _MLP)
    projection = largest((4 * s.a * C * C if s.autocast else 0) - 3 * s.a * M * C, 0)
    yield _in_block(
        "MLP output's weight copy",
        projection,
        (C, 4 * C),
        s.a_dtype,
        "4*a*C*C - 3*a*M*C, where positive",
        _CACHE,
    )


def _loss_lines(s: Sizes) -> Iterator[Line]:
    M, V, C = s.evaluated, s.V, s.C
    rows = smaller(s.n, M) if s.chunked else M
    if s.autocast:
        copies = s.linear * s.L + (0 if s.chunked else V * C)
        yield _in_loss("weight copies", s.a * copies, None, s.a_dtype, "a*(L*12*C*C + V*C)", _CACHE)
    if s.chunked:
        yield _in_loss("hidden states", s.r * M * C, (M, C), s.r_dtype, "r*M*C", _LOSS)
        if s.autocast:
            yield _in_loss("chunk, weight copy of the head", s.a * V * C, (V, C), s.a_dtype, "a*V*C", _LOSS)
    elif s.a != 4:
        yield _in_loss("logits", s.a * M * V, (M, V), s.a_dtype, "a*M*V", _LOSS)
    yield _in_loss("logits in fp32", 4 * rows * V, (rows, V), "float32", "4*M*V", _LOSS)
    yield _in_loss("log-probabilities", 4 * rows * V, (rows, V), "float32", "4*M*V", _LOSS)
