"""One process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwplan.parallel.parallel import Parallel

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.line import Line


class Alone(Parallel):
    """One process: nothing is shared and nothing is sent."""

    name: Literal["none"] = "none"

    world_size: ClassVar[int] = 1
    refuses: ClassVar[dict[str, str]] = {"world_size": "world_size {} needs parallel ddp, zero1 or fsdp"}
    proven: ClassVar[bool] = True
    trained: ClassVar[bool] = True

    def lines(self, weights: Dtype, parameters: Any) -> list[Line]:  # noqa: ARG002
        """Return nothing more."""
        return []
