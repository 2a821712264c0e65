"""The logits family and the head's gradient of a compiled step.

Log-softmax and its backward fuse: of shape (N, V) only the logits and their gradient exist, both in the matmul's dtype,
with the maximum and the log of the sum in fp32. That is 2 a = 4 bytes a logit under bf16 autocast, what the gollem rows
(torch 2.5.1, CUDA) show. From torch 2.6 on the logits are a donated buffer and the gradient is written over them: a = 2
bytes, seen on CPU with torch 2.13; on CUDA the interval's low end allows for it. A function that returns the logits
cannot donate them and is handed a zero tangent of their size: 3 a, 6 bytes, confirmed on CPU.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.chunked_loss import chunked_lines
from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVERY_PHASE, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import TrainSpec

_GRAPH = "AOTAutograd's graph: benchmarks/compiled_graph.py"
_ADDMM = "inductor makes the tied sum one addmm at the end, so its operands wait; real CPU steps, torch 2.13"
_PADDED = (
    "where 8 does not divide V inductor pads the logits' gradient once for each of its two products, the weight's "
    "before the input's: read from the graph; slopes of the gollem rows (V = 50257)"
)
_FORWARD, _BACKWARD, _HEAD, _END = (
    Phase.LOSS_FORWARD,
    Phase.LOSS_BACKWARD,
    Phase.HEAD_BACKWARD,
    Phase.END_OF_BACKWARD,
)
_LOSS = _FORWARD | _BACKWARD
_BLOCK = Phase.TOP_BLOCK_BACKWARD | Phase.BOTTOM_BLOCK_BACKWARD
_HEAD_TO_END = _HEAD | _BLOCK | _END


def defers_head(s: Sizes) -> bool:
    """Return whether the head's gradient is made at the end only: a tied sum that no cast separates from it."""
    return s.tied and not s.autocast and not s.chunked and not s.cuda


def pads_logits(s: Sizes) -> bool:
    """Return whether the logits' gradient is padded when the head's own gradient exists already."""
    return s.V % 8 != 0 and s.autocast and s.cuda


def chunked_or_full(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield the lines of the loss that the spec asks for, and the head's input."""
    if s.chunked:  # the loss itself stays eager
        yield from chunked_lines(s)
        return
    in_place = not s.cuda and not train.loss.returns_logits
    deferred = _HEAD_TO_END if defers_head(s) else _HEAD
    phases = _FORWARD | deferred if pads_logits(s) else _LOSS | deferred
    yield Line(
        "head input", s.a * s.N * s.C, (s.B, s.T, s.C), s.a_dtype, phases, "saved", "a*N*C", _GRAPH
    )  # fmt: skip
    if not train.loss.keeps_logits:
        yield _logits(s, "logits", _LOSS | (deferred if in_place else Phase(0)), _GRAPH)
    if not in_place:
        yield _logits(s, "gradient: logits", _BACKWARD | deferred, _GRAPH)
    if train.loss.returns_logits:
        source = "AOTAutograd materialises a tangent for every output that requires grad"
        yield _logits(s, "zero tangent: returned logits", _BACKWARD, source)
    if train.loss.keeps_logits:
        yield _logits(s, "logits held by the caller", EVERY_PHASE, "the caller")
    yield Line("max and log-sum of the logits", 8 * s.N, (s.N,), "float32", _LOSS, "saved", "2*4*N", _GRAPH)
    if s.autocast:
        yield Line(
            "weight copy: head", s.a * s.V * s.C, (s.V, s.C), s.a_dtype, _LOSS | _HEAD, "saved", "a*V*C",
            "autocast's cast, kept for the gradient of the head's input",
        )  # fmt: skip


def _logits(s: Sizes, name: str, phases: Phase, source: str) -> Line:
    return Line(name, s.a * s.N * s.V, (s.B, s.T, s.V), s.a_dtype, phases, "transient", "a*N*V", source)


def head_gradient_lines(s: Sizes) -> Iterator[Line]:
    """Yield the head's gradient of shape (V, C), from the head's backward to the end."""
    size, shape = s.V * s.C, (s.V, s.C)
    to_step = Phase(0) if s.accumulates or s.tied else Phase.OPTIMIZER_STEP
    if s.chunked:
        phases = _BLOCK | _END if s.tied or not s.accumulates else Phase(0)
        yield Line("gradient: head", s.p * size, shape, s.p_dtype, phases | to_step, "saved", "p*V*C", "autograd")
        return
    if defers_head(s):
        yield Line("gradient: head and embedding", s.p * size, shape, s.p_dtype, _END, "transient", "p*V*C", _ADDMM)
        if s.r == s.a:
            yield Line(
                "gradient: hidden states, residual stream", (s.a + s.r) * s.N * s.C, None, s.a_dtype, _HEAD,
                "transient", "(a + r)*N*C", _ADDMM,
            )  # fmt: skip
    elif s.autocast:
        half = _HEAD_TO_END if s.tied else _HEAD
        yield Line(
            "gradient: head, half precision", s.a * size, shape, s.a_dtype,
            half | _BACKWARD if pads_logits(s) else half, "transient", "a*V*C", _PADDED if s.V % 8 else _GRAPH,
            "prior" if pads_logits(s) else "exact",
        )  # fmt: skip
        late = _END if s.tied else _BLOCK | _END | to_step
        yield Line("gradient: head", s.p * size, shape, s.p_dtype, late, "saved", "p*V*C", _GRAPH)
    else:
        phases = _HEAD_TO_END | to_step
        yield Line("gradient: head", s.p * size, shape, s.p_dtype, phases, "saved", "p*V*C", _GRAPH)
