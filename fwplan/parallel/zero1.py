"""ZeRO stage 1: DDP, but each process remembers and updates its share of the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fwplan.fields import Count  # noqa: TC001  # pydantic reads it
from fwplan.parallel.ddp import buckets
from fwplan.parallel.parallel import Parallel

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.line import Line


class ZeRO1(Parallel):
    """torch's ZeroRedundancyOptimizer over a model in DDP."""

    name: Literal["zero1"] = "zero1"
    world_size: Count = 1  # processes; planned for, trained on one device

    @property
    def state_shards(self) -> int:
        """Every process has the moments of its share."""
        return self.world_size

    @property
    def update_shards(self) -> int:
        """And updates it."""
        return self.world_size

    def lines(self, weights: Dtype, parameters: Any) -> list[Line]:
        """Return DDP's buckets: the gradients are whole in every process."""
        return buckets(weights, parameters)
