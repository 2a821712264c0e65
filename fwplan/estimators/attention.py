"""What attention and dropout keep beyond the flash case: score matrices and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import RunSpec

_KEPT = (
    Phase.LOSS_FORWARD
    | Phase.LOSS_WEIGHT_GRADIENT
    | Phase.LOSS_BACKWARD
    | Phase.HEAD_BACKWARD
    | Phase.TOP_BLOCK_BACKWARD
)


def attention_lines(s: Sizes, spec: RunSpec) -> Iterator[Line]:
    """Yield the (B, H, T, T) score matrices of math attention and the masks of dropout."""
    if spec.train.attention == "math":
        yield from _score_lines(s)
    if spec.model.dropout > 0:
        mask = 1 if s.cuda else s.a
        yield Line(
            "dropout masks", mask * s.N * s.C * (2 * s.K + 1), (s.B, s.T, s.C), "bool" if s.cuda else s.a_dtype, _KEPT,
            "saved", "(2*K + 1) * N*C", "torch native_dropout keeps one byte an element on CUDA", "prior",
        )  # fmt: skip


def _score_lines(s: Sizes) -> Iterator[Line]:
    scores, shape = s.B * s.H * s.T * s.T, (s.B, s.H, s.T, s.T)
    block = (4 + (s.a if s.autocast else 0)) * scores
    source = "softmax in fp32, kept, and its copy in the matmul's dtype; gollem H100 row '1_bfloat16'"
    yield Line(
        "attention probabilities", s.K * block, shape, "float32", _KEPT, "saved", "K * (4 + a)*B*H*T*T", source, "prior"
    )
    here = Phase.BOTTOM_BLOCK_BACKWARD | (Phase.TOP_BLOCK_BACKWARD if s.recomputes_top else Phase(0))
    yield Line(
        "attention probabilities: this block", block, shape, "float32", here, "saved", "(4 + a)*B*H*T*T", source,
        "prior",
    )  # fmt: skip
    yield Line(
        "gradient: attention scores", 8 * scores, shape, "float32",
        Phase.TOP_BLOCK_BACKWARD | Phase.BOTTOM_BLOCK_BACKWARD, "transient", "8*B*H*T*T",
        "softmax's backward holds the incoming and the outgoing gradient in fp32", "prior",
    )  # fmt: skip
