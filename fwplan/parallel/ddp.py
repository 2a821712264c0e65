"""DistributedDataParallel: every process has the whole model, and all agree on the gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from fwplan.fields import Count  # noqa: TC001  # pydantic reads it
from fwplan.parallel.parallel import Parallel
from fwplan.tape.line import Line
from fwplan.tape.phases import EVERY_PHASE

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype


class DDP(Parallel):
    """torch.nn.parallel.DistributedDataParallel as it is by default."""

    name: Literal["ddp"] = "ddp"
    world_size: Count = 1  # processes; planned for, trained on one device

    def lines(self, weights: Dtype, parameters: Any) -> list[Line]:
        """Return the buckets, whose order is that in which backward makes gradients."""
        return buckets(weights, parameters)


def buckets(weights: Dtype, parameters: Any) -> list[Line]:
    """Return what DDP sends: a flat copy of the gradients."""
    return [
        Line(
            name="DDP buckets",
            bytes=weights.width * parameters,
            shape=None,
            dtype=weights.name,
            phases=EVERY_PHASE,
            kind="persistent",
            formula=f"{weights.width}*P",
            source="torch DDP keeps a flat copy of the gradients unless gradient_as_bucket_view is set",
            status="prior",
        )
    ]
