"""Every weight tensor of the model: name, shape, count."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.model.architecture import Architecture


@dataclass(frozen=True)
class Weight:
    """One weight tensor, named as in the bundled model's state_dict."""

    name: str
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        """Elements in the tensor."""
        return prod(self.shape)


def weights(model: Architecture) -> Iterator[Weight]:
    """Yield the model's weight tensors in the order of the bundled model; a tied head is its embedding, once."""
    n = model.dims
    blocks = {f"trunk.h.{i}.{name}": shape for i in range(n.L) for name, shape in model.block(n).items()}
    yield from (Weight(name, shape) for name, shape in (model.below(n) | blocks | model.above(n)).items())


@dataclass(frozen=True)
class ParameterCount:
    """Elements in all weights, and without learned positions (how nanoGPT prints a model's size)."""

    total: int
    non_position: int


def count_parameters(model: Architecture) -> ParameterCount:
    """Return the number of trainable elements, tied weights counted once."""
    total = model.parameters(model.dims)
    return ParameterCount(total, total - model.positions(model.dims))
