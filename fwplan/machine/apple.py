"""What macOS says of an Apple chip: its name, GPU cores and memory. Its memory is the machine's, shared."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.units import MIB

if TYPE_CHECKING:
    from fwplan.machine.command import Runner

_SYSCTL = ["sysctl", "machdep.cpu.brand_string", "hw.memsize"]
_LIMIT = ["sysctl", "iogpu.wired_limit_mb"]  # macOS 14 and later; 0: the system's own limit
_DISPLAYS = ["system_profiler", "SPDisplaysDataType", "-json"]


@dataclass(frozen=True)
class AppleChip:
    """An Apple chip; None where macOS does not say.

    Attributes:
        name: such as "Apple M3 Max".
        memory_bytes: the machine's memory, which CPU and GPU share.
        gpu_limit_bytes: what the GPU may take of it, where somebody has set that; the system's own limit is unknown.
        gpu_cores: cores of the GPU.
    """

    name: str
    memory_bytes: int | None
    gpu_limit_bytes: int | None
    gpu_cores: int | None


def ask_macos(run: Runner) -> tuple[AppleChip | None, str | None]:
    """Return this Mac's chip and None, or None and the reason why there is none."""
    said = dict(re.findall(r"^([\w.]+): (.+)$", run(_SYSCTL) or "", flags=re.MULTILINE))
    name = said.get("machdep.cpu.brand_string", "").strip()
    if not name.startswith("Apple "):
        return None, f"an Intel Mac: {name[:60]}" if name else "sysctl names no Apple chip"
    memory = said.get("hw.memsize", "").strip()
    limit = re.search(r"iogpu\.wired_limit_mb: ([1-9][0-9]{0,8})\s*$", run(_LIMIT) or "")
    return AppleChip(
        name=name,
        memory_bytes=int(memory) if re.fullmatch(r"[1-9][0-9]{0,15}", memory) else None,
        gpu_limit_bytes=int(limit[1]) * MIB if limit else None,
        gpu_cores=_gpu_cores(run(_DISPLAYS)),
    ), None


def _gpu_cores(output: str | None) -> int | None:
    try:
        adapters = json.loads(output or "")["SPDisplaysDataType"]
        cores = str(adapters[0]["sppci_cores"])
    except (ValueError, KeyError, IndexError, TypeError, RecursionError):
        return None
    return int(cores) if re.fullmatch(r"[1-9][0-9]{0,3}", cores) else None
