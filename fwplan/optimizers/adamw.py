"""AdamW, as torch.optim has it. Kingma & Ba 2014, Loshchilov & Hutter 2017."""

from __future__ import annotations

from typing import ClassVar, Literal

from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.optimizer import Implementation, Optimizer


class AdamW(Optimizer):
    """torch.optim.AdamW."""

    name: Literal["adamw"] = "adamw"
    implementation: Implementation = "fused"
    beta1: Share = 0.9
    beta2: Share = 0.95

    label: ClassVar[str] = "AdamW"

    @property
    def told(self) -> str:
        """Decay and the second moment's memory."""
        return f"weight decay {self.weight_decay:g}, beta2 {self.beta2:g}"
