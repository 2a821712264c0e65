"""The logits family of an eager loss: logits, their fp32 copy, log-probabilities and their gradients; full, chunked.

Eager cross-entropy of logits in fp32 holds at its peak three tensors of shape (N, V), 12 bytes a logit; of
half-precision logits as they are, as nanoGPT has it, 10 under CUDA's autocast; and the logits where the caller still
holds them. A chunked loss holds one chunk at a time, and stays eager in a compiled step, whose own logits family is in
compiled_loss.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVERY_PHASE, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.line import Kind
    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import TrainSpec

_EAGER = "traced: log_softmax saves its output; its backward holds that, the incoming and the outgoing gradient"
_AS_THEY_ARE = (
    "traced: F.cross_entropy passes its logits' dtype on, which autocast respects in log_softmax; nll_loss is in fp32"
)
_CHUNKED = "fwplan/model/loss.py, traced"
_FORWARD, _BACKWARD, _HEAD = Phase.LOSS_FORWARD, Phase.LOSS_BACKWARD, Phase.HEAD_BACKWARD
_LOSS = _FORWARD | _BACKWARD
_UP_TO_HEAD = _LOSS | _HEAD
_CHUNK = _FORWARD | Phase.LOSS_WEIGHT_GRADIENT
_CHUNK_ON = _CHUNK | _BACKWARD


def loss_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield the lines of the loss that the spec asks for, and the head's input."""
    if s.chunked:
        yield from chunked_lines(s)
        return
    yield Line(
        "head input", s.a * s.N * s.C, (s.B, s.T, s.C), s.a_dtype, _UP_TO_HEAD, "saved", "a*N*C",
        "the final LayerNorm's output, kept for the gradient of the head",
    )  # fmt: skip
    if s.autocast:
        yield Line(
            "weight copy: head", s.a * s.V * s.C, (s.V, s.C), s.a_dtype, _LOSS, "saved",
            "a*V*C", "torch.autocast",
        )  # fmt: skip
        yield Line(
            "gradient: head, half precision", s.a * s.V * s.C, (s.V, s.C), s.a_dtype,
            _HEAD, "transient", "a*V*C", "traced",
        )  # fmt: skip
    yield from _as_they_are(s) if takes_logits_as_they_are(s) else _eager(s)
    if s.returns_logits:
        yield _held_by_forward(s)
    if train.keeps_logits:
        yield _logits(s, "logits held by the caller", s.a, EVERY_PHASE, "persistent", "a*N*V")


def _logits(
    s: Sizes,
    name: str,
    width: int,
    phases: Phase,
    kind: Kind = "transient",
    formula: str = "4*N*V",
    source: str = _EAGER,
) -> Line:
    dtype = s.a_dtype if width == s.a else "float32"
    return Line(name, width * s.N * s.V, (s.B, s.T, s.V), dtype, phases, kind, formula, source)


def _eager(s: Sizes) -> Iterator[Line]:
    yield _logits(s, "logits", s.a, _FORWARD, formula="a*N*V")
    if s.a != 4:
        yield _logits(s, "logits in fp32", 4, _FORWARD)
    yield _logits(s, "log-probabilities", 4, _LOSS, "saved")
    yield _logits(s, "gradient: log-probabilities", 4, _BACKWARD)
    yield _logits(s, "gradient: logits", 4, _BACKWARD)
    if not s.autocast:
        yield _logits(s, "gradient: logits, at the head", s.a, _HEAD, formula="a*N*V")


def takes_logits_as_they_are(s: Sizes) -> bool:
    """Return whether log_softmax is taken in half precision: CPU's autocast casts cross_entropy_loss as a whole."""
    return s.returns_logits and s.a != 4 and (s.cuda or not s.autocast)


def forward_logit_bytes(s: Sizes) -> int:
    """Return bytes a logit at the widest moment of an eager loss's forward."""
    if takes_logits_as_they_are(s):
        return 2 * s.a + (4 if s.autocast else 0)
    return 8 + (s.a if s.a != 4 else 0)


def _as_they_are(s: Sizes) -> Iterator[Line]:
    yield _logits(s, "logits", s.a, _FORWARD, formula="a*N*V")
    yield _logits(s, "log-probabilities", s.a, _LOSS, "saved", "a*N*V", _AS_THEY_ARE)
    if s.autocast:
        yield _logits(s, "log-probabilities in fp32", 4, _LOSS, "saved", source=_AS_THEY_ARE)
        yield _logits(s, "gradient: log-probabilities", 4, _BACKWARD, source=_AS_THEY_ARE)
        return
    yield _logits(s, "gradient: log-probabilities", s.a, _BACKWARD, formula="a*N*V", source=_AS_THEY_ARE)
    yield _logits(s, "gradient: logits", s.a, _BACKWARD | _HEAD, formula="a*N*V", source=_AS_THEY_ARE)


def _held_by_forward(s: Sizes) -> Line:
    """Return what nanoGPT's forward has names for until it returns: tok_emb, pos_emb and the final LayerNorm's x."""
    final = s.r * s.N * s.C if s.autocast else 0  # without a cast it is the head's input itself
    return Line(
        "embeddings and x, held by the forward", s.r * (s.N + s.T) * s.C + final, (s.B, s.T, s.C), s.r_dtype,
        _FORWARD, "transient", "2*r*N*C + r*T*C" if s.autocast else "r*N*C + r*T*C",
        "nanoGPT's model.py: local variables live until the function returns; traced",
    )  # fmt: skip


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
