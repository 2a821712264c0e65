"""What the blocks keep for backward, and what a block's backward needs on top.

One block keeps, per token and width element, 2 r + 14 a bytes: the inputs of both LayerNorms (r each) and, in the
matmuls' dtype, both LayerNorm outputs (2 a), q, k, v (3 a), the attention output (a), the MLP's hidden layer before
and after its GELU (8 a). Under bf16 autocast that is 36 bytes, in fp32 64. Compiled steps are in compiled.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.kept import block_bytes, kept_bytes, mask_width, statistics_bytes
from fwplan.estimators.line import Line
from fwplan.estimators.loss import forward_logit_bytes
from fwplan.estimators.phases import Phase
from fwplan.estimators.sizes import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes

_SAVED = "autograd's saved tensors, traced op by op and in AOTAutograd's graphs"
_BACKWARD = "traced: the widest moment of a block's backward is the MLP's output projection"
_AUTOCAST = "torch.autocast casts each weight once per forward and autograd keeps the copy"
_LOSS = Phase.LOSS_FORWARD | Phase.LOSS_WEIGHT_GRADIENT | Phase.LOSS_BACKWARD
_UP_TO_HEAD = _LOSS | Phase.HEAD_BACKWARD
_UP_TO_TOP = _UP_TO_HEAD | Phase.TOP_BLOCK_BACKWARD
_FORWARD = Phase.LOSS_FORWARD | Phase.LOSS_WEIGHT_GRADIENT
_BLOCK = Phase.TOP_BLOCK_BACKWARD | Phase.BOTTOM_BLOCK_BACKWARD
_BLOCK_ON = _BLOCK | Phase.END_OF_BACKWARD


def saved_lines(s: Sizes) -> Iterator[Line]:
    """Yield what all blocks keep from their forward until backward reaches them."""
    width, u = (s.B, s.T, s.C), s.N * s.C * s.K
    for name, count, per_element, dtype, formula in (
        ("LayerNorm inputs", 2, s.r, s.r_dtype, "K * 2*r*N*C"),
        ("LayerNorm outputs", 2, s.a, s.a_dtype, "K * 2*a*N*C"),
        ("q, k, v", 3, s.a, s.a_dtype, "K * 3*a*N*C"),
        ("attention outputs", 1, s.a, s.a_dtype, "K * a*N*C"),
    ):
        yield Line(name, count * per_element * u, width, dtype, _UP_TO_TOP, "saved", formula, _SAVED)
    for name in ("MLP hidden, before GELU", "MLP hidden, after GELU"):
        yield Line(name, 4 * s.a * u, (s.B, s.T, 4 * s.C), s.a_dtype, _UP_TO_TOP, "saved", "K * 4*a*N*C", _SAVED)
    yield Line(
        "norm and attention statistics", statistics_bytes(s) * s.K, None, "float32", _UP_TO_TOP, "saved",
        "K * 4*N*(4 + H)", _SAVED,
    )  # fmt: skip
    yield Line(
        "checkpointed block inputs", s.r * s.N * s.C * s.R, width, s.r_dtype, _UP_TO_TOP, "saved", "R * r*N*C",
        "Chen et al. 2016: only a recomputed block's input is kept",
    )  # fmt: skip
    yield Line(
        "final LayerNorm input", s.r * s.N * s.C + 8 * s.N, width, s.r_dtype, _UP_TO_HEAD, "saved", "r*N*C + 8*N",
        _SAVED,
    )  # fmt: skip
    yield Line(
        "activations: bottom block", block_bytes(s), None, None, Phase.BOTTOM_BLOCK_BACKWARD, "saved",
        "N*C*(2*r + 14*a) + 4*N*(4 + H)", _SAVED,
    )  # fmt: skip
    if s.recomputes_top:
        yield Line(
            "recomputed: top block", block_bytes(s) - s.r * s.N * s.C, None, None,
            Phase.TOP_BLOCK_BACKWARD, "transient", "N*C*(r + 14*a) + 4*N*(4 + H)", _SAVED,
        )  # fmt: skip
        yield _forward_line(s)
    elif s.recomputes:
        yield _highest_recomputed(s)


def _forward_line(s: Sizes) -> Line:
    """Return what the forward of a recomputed top block's MLP takes beyond that of the loss.

    With a small vocabulary the loss is narrower: at the GELU stand the residual sum, the LayerNorm's output and the
    hidden layer before and after, none of which a recomputed block keeps.
    """
    u, copies = s.N * s.C, s.a * (s.V * s.C + 4 * s.C * s.C) if s.autocast else 0
    if s.chunked:
        loss = (2 * s.r + s.a) * u + 4 * s.V * s.C + 8 * s.n * s.V + copies
    else:
        loss = (s.r + s.a) * u + forward_logit_bytes(s) * s.N * s.V + copies
    return Line(
        "recomputed: top block's forward, beyond the loss", largest((2 * s.r + 8 * s.a) * u - loss, 0), None, None,
        Phase.LOSS_FORWARD, "transient", "(2*r + 8*a)*N*C less the loss's, where positive", _SAVED,
    )  # fmt: skip


def _highest_recomputed(s: Sizes) -> Line:
    """Return what the highest recomputed block's backward takes beyond that of the kept blocks above it.

    By then those are done: their activations are gone, their gradients are there.
    """
    block = block_bytes(s) + kept_bytes(s) + (s.a * s.linear if s.autocast else 0)
    gradients = 0 if s.accumulates else s.above * s.p * s.W
    beyond = largest((1 - s.above) * block - s.r * s.N * s.C + gradients, 0)
    return Line(
        "recomputed: highest block, beyond those above", beyond, None, None, Phase.TOP_BLOCK_BACKWARD, "transient",
        "its activations and p*W for each above, where positive", _SAVED,
    )  # fmt: skip


def weight_copy_lines(s: Sizes) -> Iterator[Line]:
    """Yield autocast's copies of the weights: all of them inside the forward, then those that backward still needs."""
    if not s.autocast:
        return
    name = "weight copies"
    yield Line(
        f"{name}: checkpointed blocks", s.a * s.linear * s.R, None, s.a_dtype,
        _FORWARD, "transient", "R * a*12*C*C",
        "traced: the autocast cache holds them until the forward leaves its context",
    )  # fmt: skip
    yield Line(name, s.a * s.linear * s.K, None, s.a_dtype, _UP_TO_TOP, "saved", "K * a*12*C*C", _AUTOCAST)
    in_backward = _BLOCK if s.recomputes_top else Phase.BOTTOM_BLOCK_BACKWARD
    yield Line(
        f"{name}: block in backward", s.a * s.linear, None, s.a_dtype, in_backward, "saved", "a*12*C*C", _AUTOCAST
    )


def block_backward_lines(s: Sizes) -> Iterator[Line]:
    """Yield the transients of the widest moment of a block's backward: the gradient of its MLP's output projection.

    With few tokens the cast of that weight's gradient to fp32 is wider, though the MLP output's gradient, the GELU's
    output and the weight's copy are gone by then: the line of the cast is what it adds.
    """
    width = (s.B, s.T, s.C)
    yield Line(
        "gradient: residual stream", s.r * s.N * s.C, width, s.r_dtype, _BLOCK_ON, "transient",
        "r*N*C", _BACKWARD,
    )  # fmt: skip
    if s.autocast or s.dropout:  # else it is the residual stream's own
        # under autocast a recomputed block is as wide before its dropout's mask goes: LayerNorm's output still stands
        mask = 0 if s.autocast and s.recomputes else mask_width(s)
        yield Line(
            "gradient: MLP output", (s.a - mask) * s.N * s.C, width, s.a_dtype, _BLOCK, "transient",
            "(a - m)*N*C: the mask is gone" if mask else "a*N*C", _BACKWARD,
        )  # fmt: skip
    if s.autocast:
        product, cast = 5 * s.a * s.N * s.C + 4 * s.a * s.C * s.C, 4 * s.p * s.C * s.C
        yield Line(
            "gradient: MLP weight, cast", largest(cast - product, 0), (s.C, 4 * s.C), s.p_dtype, _BLOCK, "transient",
            "4*p*C*C - 5*a*N*C - 4*a*C*C, where positive", _BACKWARD,
        )  # fmt: skip
    yield Line(
        "gradient: MLP hidden layer", 4 * s.a * s.N * s.C, (s.B, s.T, 4 * s.C), s.a_dtype, _BLOCK, "transient",
        "4*a*N*C", _BACKWARD,
    )  # fmt: skip
    yield Line(
        "gradient: MLP output weight", 4 * s.a * s.C * s.C, (s.C, 4 * s.C), s.a_dtype, _BLOCK, "transient", "4*a*C*C",
        _BACKWARD,
    )  # fmt: skip
    yield _last_gradients(s)


def _last_gradients(s: Sizes) -> Line:
    """Return what the bottom block's last weight gradient (q, k, v) takes beyond the end of backward.

    With a small vocabulary the embedding's dense gradient is less than what is alive just before it: that weight's
    gradient before its cast, or without autocast the gradients of q, k, v.
    """
    u, embedding = s.N * s.C, s.p * (s.V * s.C + s.positions)
    alive = 3 * s.a * s.C * s.C + 2 * s.r * u if s.autocast else (5 * s.a + s.r) * u
    return Line(
        "gradient: bottom block's q, k, v, beyond the embedding's", largest(alive - embedding, 0), None, None,
        Phase.END_OF_BACKWARD, "transient", "3*a*C*C + 2*r*N*C - p*V*C - p*T*C, where positive", _BACKWARD,
    )  # fmt: skip
