"""SGD with or without momentum, as torch.optim has it."""

from __future__ import annotations

from typing import ClassVar, Literal

from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.optimizer import Implementation, Optimizer


class SGD(Optimizer):
    """torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    implementation: Implementation = "fused"
    momentum: Share = 0.9

    label: ClassVar[str] = "SGD"

    @property
    def told(self) -> str:
        """Decay and momentum."""
        return f"weight decay {self.weight_decay:g}, momentum {self.momentum:g}"
