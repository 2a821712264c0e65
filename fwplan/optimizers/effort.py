"""The work of an optimizer's step: what the roofline asks of an optimizer, and tells it of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Weights(NamedTuple):
    """A model's weights as an optimizer's work goes by them: numbers, or arrays of them.

    Attributes:
        elements: of all of them.
        tensors: of the blocks.
        matrices: (outs, ins, how many) of the blocks' products.
    """

    elements: Any
    tensors: Any
    matrices: Sequence[tuple[Any, Any, Any]]


class Effort(NamedTuple):
    """The work of a step.

    Attributes:
        moved: elements as wide as the weights that are read or written.
        more_bytes: that are moved beside them.
        kernels: that are launched for one tensor alone.
        products: (M, N, K, how many) of bf16, of an (M, K) and a (K, N) matrix.
    """

    moved: Any
    more_bytes: Any = 0.0
    kernels: Any = 0.0
    products: Sequence[tuple[Any, Any, Any, Any]] = ()
