"""Element types: what a run's weights are stored in, and what its matrix products take and give."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from fwplan.fields import Dtype as Precision


class Dtype(NamedTuple):
    """The type of an element: its name, as torch's, and its bytes."""

    name: str
    width: int


FLOAT32, INT64, BOOL, UINT8 = Dtype("float32", 4), Dtype("int64", 8), Dtype("bool", 1), Dtype("uint8", 1)
BFLOAT16, FLOAT16 = Dtype("bfloat16", 2), Dtype("float16", 2)
# Of weights, gradients, moments and the residual stream; and of what matrix products take and give. Where they differ,
# autocast casts between them.
DTYPES: dict[Precision, tuple[Dtype, Dtype]] = {
    "float32": (FLOAT32, FLOAT32),
    "bfloat16": (FLOAT32, BFLOAT16),
    "float16": (FLOAT32, FLOAT16),
    "pure_bfloat16": (BFLOAT16, BFLOAT16),
}
