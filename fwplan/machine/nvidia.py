"""What NVIDIA's driver says of its GPUs, by nvidia-smi. No torch."""

from __future__ import annotations

import os
import platform
import re
from typing import TYPE_CHECKING

from fwplan.machine.command import run_command
from fwplan.machine.gpu import Gpu
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fwplan.machine.command import Runner

_FIELDS = ("name", "memory.total", "memory.used", "driver_version", "uuid")
_RESERVED = "memory.reserved"  # drivers before R510 refuse the whole query when asked for it


def ask_nvidia_smi(run: Runner = run_command, environ: Mapping[str, str] = os.environ) -> tuple[Gpu | None, str | None]:
    """Return the GPU that a CUDA program would use first, and None; or None and the reason why there is none.

    Of several GPUs it is the first, or what CUDA_VISIBLE_DEVICES names first. nvidia-smi counts in bus order, CUDA by
    default fastest first: on a machine with different cards set CUDA_DEVICE_ORDER=PCI_BUS_ID to make them agree.
    """
    reserved_known, output = True, run(_query(*_FIELDS, _RESERVED))
    if output is None:
        reserved_known, output = False, run(_query(*_FIELDS))
    if output is None:
        return None, "nvidia-smi is not there or does not answer"
    gpus = [_parse(line, reserved_known=reserved_known) for line in output.splitlines() if line.strip()]
    if not gpus or None in gpus:
        return None, f"nvidia-smi's answer cannot be read: {output.strip()[:80]!r}"
    return _visible([gpu for gpu in gpus if gpu is not None], environ.get("CUDA_VISIBLE_DEVICES"))


def _query(*names: str) -> list[str]:
    return ["nvidia-smi", f"--query-gpu={','.join(names)}", "--format=csv,noheader,nounits"]


def _parse(line: str, *, reserved_known: bool) -> Gpu | None:
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != len(_FIELDS) + reserved_known or not cells[0]:
        return None
    name, total, used, driver, uuid = cells[: len(_FIELDS)]
    reserved = _mib(cells[-1]) if reserved_known else None
    return Gpu(name, _mib(total), reserved, _mib(used), driver, uuid)


def _mib(cell: str) -> int | None:
    return int(cell) * MIB if re.fullmatch(r"[0-9]{1,12}", cell) else None


def _visible(gpus: list[Gpu], chosen: str | None) -> tuple[Gpu | None, str | None]:
    if chosen is None:
        return gpus[0], None
    first = chosen.partition(",")[0].strip()
    if re.fullmatch(r"[0-9]{1,4}", first) and int(first) < len(gpus):
        return gpus[int(first)], None
    if first.startswith("GPU-"):
        named = [gpu for gpu in gpus if gpu.uuid.startswith(first)]
        if len(named) == 1:
            return named[0], None
    return None, f"CUDA_VISIBLE_DEVICES={chosen!r} names none of the {len(gpus)} GPUs"


def shows_driver_total() -> bool:
    """Return whether torch sees the driver's whole total here: so it is under WDDM, on Windows and in WSL."""
    return platform.system() == "Windows" or "microsoft" in platform.release().lower()
