"""A chunked loss beside a compiled trunk: one chunk, and the gradients that wait for backward. The loss is eager."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_CHUNKED = "fwplan/model/loss.py, traced"
_CHUNK = Phase.LOSS_FORWARD | Phase.LOSS_WEIGHT_GRADIENT
_CHUNK_ON = _CHUNK | Phase.LOSS_BACKWARD


def chunked_lines(s: Sizes) -> Iterator[Line]:
    """Yield the lines of a chunked loss: one chunk, and the gradients that wait for backward."""
    chunk = (s.n, s.V)
    softmax, outer = Phase.LOSS_FORWARD, Phase.LOSS_WEIGHT_GRADIENT
    yield Line("hidden states", s.r * s.N * s.C, (s.N, s.C), s.r_dtype, _CHUNK, "transient", "r*N*C", _CHUNKED)
    yield Line(
        "gradient: hidden states", s.a * s.N * s.C, (s.N, s.C), s.a_dtype, _CHUNK_ON, "saved",
        "a*N*C", _CHUNKED,
    )  # fmt: skip
    yield Line(
        "gradient: head, accumulating", 4 * s.V * s.C, (s.V, s.C), "float32", _CHUNK_ON,
        "saved", "4*V*C", _CHUNKED,
    )  # fmt: skip
    yield Line("chunk: logits in fp32", 4 * s.n * s.V, chunk, "float32", softmax, "transient", "4*n*V", _CHUNKED)
    yield Line("chunk: log-probabilities", 4 * s.n * s.V, chunk, "float32", softmax, "transient", "4*n*V", _CHUNKED)
    yield Line("chunk: gradient, logits", s.a * s.n * s.V, chunk, s.a_dtype, outer, "transient", "a*n*V", _CHUNKED)
    if s.a == 4:
        return  # in fp32 the weight is used as it is and its gradient accumulates by addmm in place
    yield Line("chunk: gradient, head", s.a * s.V * s.C, (s.V, s.C), s.a_dtype, outer, "transient", "a*V*C", _CHUNKED)
    if s.autocast:
        yield Line("chunk: input", s.a * s.n * s.C, (s.n, s.C), s.a_dtype, _CHUNK, "transient", "a*n*C", _CHUNKED)
        yield Line(
            "chunk: weight copy, head", s.a * s.V * s.C, (s.V, s.C), s.a_dtype, _CHUNK, "transient",
            "a*V*C", _CHUNKED,
        )  # fmt: skip
    if not s.cuda:
        yield Line(
            "chunk: gradient, head in fp32", 4 * s.V * s.C, (s.V, s.C), "float32", outer, "transient", "4*V*C",
            "traced: on CPU an in-place add of mixed dtypes first converts its operand",
        )  # fmt: skip
