"""AdamW whose moments are a byte each, as bitsandbytes has it."""

from __future__ import annotations

from typing import ClassVar, Literal

from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.optimizer import Implementation, Optimizer


class AdamW8bit(Optimizer):
    """bitsandbytes' AdamW8bit: `pip install 'fwplan[8bit]'`."""

    name: Literal["adamw_8bit"] = "adamw_8bit"
    beta1: Share = 0.9
    beta2: Share = 0.95

    implementation: ClassVar[Implementation] = "fused"
    label: ClassVar[str] = "8-bit AdamW"
    refuses: ClassVar[dict[str, str]] = {
        "implementation": "adamw_8bit is fused: optimizer_impl {!r} does not exist for it"
    }

    @property
    def told(self) -> str:
        """Decay and the second moment's memory."""
        return f"weight decay {self.weight_decay:g}, beta2 {self.beta2:g}"
