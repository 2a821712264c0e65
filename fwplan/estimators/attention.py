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
    if spec.train.attention == "math" and s.K:
        scores = s.B * s.H * s.T * s.T
        yield Line(
            "attention probabilities", s.K * (4 + (s.a if s.autocast else 0)) * scores, (s.B, s.H, s.T, s.T),
            "float32", _KEPT, "saved", "K * (4 + a)*B*H*T*T",
            "softmax in fp32, kept, and its copy in the matmul's dtype; gollem H100 row '1_bfloat16'", "prior",
        )  # fmt: skip
    if spec.model.dropout > 0:
        mask = 1 if s.cuda else s.a
        yield Line(
            "dropout masks", mask * s.N * s.C * (2 * s.K + 1), (s.B, s.T, s.C), "bool" if s.cuda else s.a_dtype, _KEPT,
            "saved", "(2*K + 1) * N*C", "torch native_dropout keeps one byte an element on CUDA", "prior",
        )  # fmt: skip
