"""What every optimizer says of itself."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, TypeAlias

from fwplan.fields import Amount, Rate, Spec

Implementation: TypeAlias = Literal["fused", "foreach", "for_loop"]


class Optimizer(Spec):
    """An optimizer's settings. Vectors (biases, norms) do not decay."""

    name: str
    learning_rate: Rate = 6e-4  # the peak, which the schedule starts from
    weight_decay: Amount = 0.1  # of matrices

    label: ClassVar[str]  # in words
    refuses: ClassVar[dict[str, str]] = {}  # why what is fixed for it cannot be set

    @property
    @abstractmethod
    def told(self) -> str:
        """What it is told beside the learning rate, in words."""
