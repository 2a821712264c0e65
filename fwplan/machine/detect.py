"""Which GPU this machine has: what its driver says, and its row of the table."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.machine.amd import ask_amd
from fwplan.machine.cards import usable_total
from fwplan.machine.command import run_command
from fwplan.machine.names import find_gpu
from fwplan.machine.nvidia import ask_nvidia_smi, shows_driver_total
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.machine.cards import Card
    from fwplan.machine.command import Runner
    from fwplan.machine.gpu import Gpu


def detect(run: Runner = run_command, environ: Mapping[str, str] = os.environ) -> Gpu | None:
    """Return the GPU that a CUDA program would use first on this machine, or None."""
    return detect_or_reason(run, environ)[0]


def detect_or_reason(
    run: Runner = run_command, environ: Mapping[str, str] = os.environ, *, wddm: bool | None = None
) -> tuple[Gpu | None, str | None]:
    """Return the GPU of this machine and None, or None and the reason why there is none.

    NVIDIA's driver is asked first, then AMD's. `total_bytes` is what torch will see: the driver's total less what it
    reserves; where it does not say, the table's figure for the card ("measured" or "assumed"). Under WDDM (None: find
    out) and on AMD torch sees the driver's total.
    """
    gpu, reason = ask_nvidia_smi(run, environ)
    if gpu is None and environ.get("CUDA_VISIBLE_DEVICES") is None:
        gpu = ask_amd(run, environ)[0]
    return (None, reason) if gpu is None else (_described(gpu, wddm=wddm), None)


def _described(gpu: Gpu, *, wddm: bool | None) -> Gpu:
    """Return the GPU with its row of the table and with what torch will see of its memory."""
    card, total = _card(gpu), gpu.driver_total_bytes
    if total is not None and (gpu.vendor == "amd" or (shows_driver_total() if wddm is None else wddm)):
        return replace(gpu, card=card, total_bytes=total, total_status="driver")
    if total is not None and gpu.reserved_bytes is not None:
        return replace(gpu, card=card, total_bytes=total - gpu.reserved_bytes, total_status="driver")
    if card is not None:
        return replace(gpu, card=card, total_bytes=card.total_bytes, total_status=card.total_status)
    if total is None:
        return gpu
    return replace(gpu, total_bytes=usable_total(total / GIB)[0], total_status="assumed")


def _card(gpu: Gpu) -> Card | None:
    try:
        return find_gpu(gpu.name, gpu.driver_total_bytes)
    except FwplanError:
        return None
