"""What every way of training in several processes says of itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from fwplan.fields import Spec

if TYPE_CHECKING:
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.line import Line


class Parallel(Spec):
    """One process or several; each of `world_size` takes micro-batches of its own."""

    name: str

    refuses: ClassVar[dict[str, str]] = {}  # why what is fixed for it cannot be set
    proven: ClassVar[bool] = False  # its memory is traced op by op
    trained: ClassVar[bool] = False  # by this trainer
    unsupported: ClassVar[str | None] = None  # why its memory cannot be estimated; None: it can

    @property
    def state_shards(self) -> int:
        """Processes that what the optimizer remembers is split over."""
        return 1

    @property
    def update_shards(self) -> int:
        """Processes that the optimizer's work is split over."""
        return 1

    @abstractmethod
    def lines(self, weights: Dtype, parameters: Any) -> list[Line]:
        """Return what a process keeps in every phase beside the model, for so many weights of this dtype."""
