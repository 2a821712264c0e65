"""Which GPU this machine has: what its driver says, and its row of the table."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fwplan.devices.amd import ask_amd
from fwplan.devices.names import find_gpu
from fwplan.devices.table import usable_total
from fwplan.errors import FwplanError
from fwplan.machine import ask_nvidia_smi, run_command, shows_driver_total
from fwplan.spec import DeviceSpec
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.devices.table import Device
    from fwplan.machine import Gpu, Runner


@dataclass(frozen=True)
class Detected:
    """The GPU of this machine: what its driver says, and its row of the table where it has one."""

    gpu: Gpu
    known: Device | None
    total_bytes: int | None
    total_status: Literal["driver", "measured", "assumed", "unknown"]

    @property
    def name(self) -> str:
        """The driver's name for it."""
        return self.gpu.name

    def spec(self) -> DeviceSpec:
        """Return this device as part of a RunSpec."""
        return DeviceSpec(type="cuda", name=self.name, total_bytes=self.total_bytes, in_use_bytes=self.gpu.used_bytes)


def detect(run: Runner = run_command, environ: Mapping[str, str] = os.environ) -> Detected | None:
    """Return the GPU that a CUDA program would use first on this machine, or None."""
    return detect_or_reason(run, environ)[0]


def detect_or_reason(
    run: Runner = run_command, environ: Mapping[str, str] = os.environ, *, wddm: bool | None = None
) -> tuple[Detected | None, str | None]:
    """Return the GPU of this machine and None, or None and the reason why there is none.

    NVIDIA's driver is asked first, then AMD's. `total_bytes` is what torch will see: the driver's total less what it
    reserves; where it does not say, the table's figure for the card ("measured" or "assumed"). Under WDDM (None: find
    out) and on AMD torch sees the driver's total.
    """
    gpu, reason = ask_nvidia_smi(run, environ)
    if gpu is None and environ.get("CUDA_VISIBLE_DEVICES") is None:
        gpu = ask_amd(run, environ)[0]
    return (None, reason) if gpu is None else (_described(gpu, wddm=wddm), None)


def _described(gpu: Gpu, *, wddm: bool | None) -> Detected:
    known, total = _known(gpu), gpu.driver_total_bytes
    if total is not None and (gpu.vendor == "amd" or (shows_driver_total() if wddm is None else wddm)):
        return Detected(gpu, known, total, "driver")
    if total is not None and gpu.reserved_bytes is not None:
        return Detected(gpu, known, total - gpu.reserved_bytes, "driver")
    if known is not None:
        return Detected(gpu, known, known.total_bytes, known.total_status)
    if total is None:
        return Detected(gpu, None, None, "unknown")
    return Detected(gpu, None, usable_total(total / GIB)[0], "assumed")


def _known(gpu: Gpu) -> Device | None:
    try:
        return find_gpu(gpu.name, gpu.driver_total_bytes)
    except FwplanError:
        return None
