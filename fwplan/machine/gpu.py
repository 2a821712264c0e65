"""A GPU of this machine, whichever driver described it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fwplan.spec import DeviceSpec

if TYPE_CHECKING:
    from fwplan.machine.cards import Card


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it, and its row of the table; None where neither says ("[N/A]": shared memory).

    Attributes:
        name: the driver's name, such as "NVIDIA GeForce RTX 4070".
        driver_total_bytes: what the driver counts; torch sees less on Linux.
        reserved_bytes: kept by driver and firmware. total - reserved is what torch sees on Linux: an RTX 4090 reports
            24,564 and 354 MiB, and torch's total_memory on that card is 24,081 to 24,217 MiB.
        used_bytes: held by other processes; the reserved part is not in it (total = reserved + used + free).
        driver: the driver's version; empty: it did not say.
        uuid: as in CUDA_VISIBLE_DEVICES; empty where it has none.
        vendor: nvidia or amd.
        asked: the program that described it.
        card: its row of the table.
        total_bytes: what torch will see.
        total_status: who says so: the driver, or the table, where it was measured on this card or assumed from others.
    """

    name: str
    driver_total_bytes: int | None
    reserved_bytes: int | None
    used_bytes: int | None
    driver: str
    uuid: str
    vendor: Literal["nvidia", "amd"] = "nvidia"
    asked: str = "nvidia-smi"
    card: Card | None = None
    total_bytes: int | None = None
    total_status: Literal["driver", "measured", "assumed", "unknown"] = "unknown"

    def spec(self) -> DeviceSpec:
        """Return this device as part of a RunSpec."""
        return DeviceSpec(type="cuda", name=self.name, total_bytes=self.total_bytes, in_use_bytes=self.used_bytes)
