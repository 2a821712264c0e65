"""Fully sharded data parallel: each process holds its share of weights, gradients and moments. Timed only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwplan.fields import Count  # noqa: TC001  # pydantic reads it
from fwplan.parallel.parallel import Parallel

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.line import Line


class FSDP(Parallel):
    """torch.distributed.fsdp over blocks."""

    name: Literal["fsdp"] = "fsdp"
    world_size: Count = 1  # processes; planned for, trained on one device

    unsupported: ClassVar[str | None] = "parallel 'fsdp' shards weights per wrapped module: not modelled yet"

    @property
    def update_shards(self) -> int:
        """Every process updates its share."""
        return self.world_size

    def lines(self, weights: Dtype, parameters: Any) -> list[Line]:  # noqa: ARG002
        """Return nothing: see `unsupported`."""
        return []
