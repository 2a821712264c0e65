"""What this machine says about itself: nvidia-smi, /proc, cgroups, and one short matrix multiplication. No torch."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fwplan.spec import DeviceSpec
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    Runner: TypeAlias = Callable[[list[str]], str | None]

_FIELDS = ("name", "memory.total", "memory.used", "driver_version", "uuid")
_RESERVED = "memory.reserved"  # drivers before R510 refuse the whole query when asked for it
_SMI_SECONDS = 5.0


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it; None where it does not say (shared memory reads "[N/A]").

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
    """

    name: str
    driver_total_bytes: int | None
    reserved_bytes: int | None
    used_bytes: int | None
    driver: str
    uuid: str
    vendor: Literal["nvidia", "amd"] = "nvidia"
    asked: str = "nvidia-smi"


def run_command(command: list[str]) -> str | None:
    """Return a command's standard output; None where it is missing, fails or takes more than five seconds."""
    executable = shutil.which(command[0])
    if executable is None:
        return None
    try:
        done = subprocess.run(
            [executable, *command[1:]],
            capture_output=True,
            timeout=_SMI_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout


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


@dataclass(frozen=True)
class CpuDevice:
    """The processor and memory that this process may use; None where it is unknown.

    Attributes:
        name: the model, such as "AMD Ryzen 7 5800X 8-Core Processor".
        cores: logical processors, within CPU affinity and the cgroup's quota.
        total_bytes: physical memory, or the cgroup's limit where that is less.
        available_bytes: what the kernel would give without swapping, now.
        sgemm_flops: measured FLOP/s of a float32 matrix multiplication on all cores.
    """

    name: str | None
    cores: int
    total_bytes: int | None
    available_bytes: int | None
    sgemm_flops: float | None

    def spec(self) -> DeviceSpec:
        """Return this device as part of a RunSpec."""
        in_use = None
        if self.total_bytes is not None and self.available_bytes is not None:
            in_use = self.total_bytes - self.available_bytes
        return DeviceSpec(type="cpu", name=self.name, total_bytes=self.total_bytes, in_use_bytes=in_use)


def sgemm_flops(seconds: float = 0.06, size: int = 768) -> float | None:
    """Return float32 FLOP/s of numpy's matrix multiplication, the best of all tries; None without numpy.

    2 * size^3 FLOP per try, after one to wake the threads. 768 keeps three operands (6.75 MiB) near the last cache.
    """
    try:
        import numpy as np  # noqa: PLC0415  # 0.1 s that only this measurement may cost
    except ImportError:
        return None
    a = np.full((size, size), 0.5, dtype=np.float32)
    out = a @ a
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end or best == float("inf"):
        start = time.perf_counter()
        np.matmul(a, a, out=out)
        best = min(best, time.perf_counter() - start)
    return float(2 * size**3 / best)


def detect_cpu(
    *, root: Path = Path("/"), affinity: int | None = None, probe: Callable[[], float | None] | None = sgemm_flops
) -> CpuDevice:
    """Return this machine's processor and memory, as far as this process may use them.

    Args:
        root: where /proc and /sys are.
        affinity: processors this process may run on; None asks the operating system.
        probe: measures FLOP/s; None leaves them unknown and costs nothing.
    """
    groups = _cgroups(root)
    quotas = [quota for group in groups if (quota := _cpu_quota(group / "cpu.max")) is not None]
    limits = [limit for group in groups if (limit := _number(group / "memory.max")) is not None]
    physical, available = _meminfo(root) or _memory_without_proc()
    total = min([*limits, *([physical] if physical else [])], default=None)
    if available is not None and total is not None:
        available = min(available, total)
    cores = affinity if affinity is not None else _affinity()
    return CpuDevice(
        name=cpu_name(root),
        cores=max(1, min([cores, *quotas])),
        total_bytes=total,
        available_bytes=available,
        sgemm_flops=probe() if probe is not None else None,
    )


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cgroups(root: Path) -> list[Path]:
    """Return this process's cgroup (version 2) and those above it: each of them may set a limit."""
    mount = root / "sys/fs/cgroup"
    own = next((line[3:] for line in _read(root / "proc/self/cgroup").splitlines() if line.startswith("0::")), "/")
    parts = [part for part in own.split("/") if part not in {"", ".."}]
    return [mount.joinpath(*parts[:depth]) for depth in range(len(parts) + 1)]


def _cpu_quota(path: Path) -> int | None:
    quota, _, period = _read(path).strip().partition(" ")
    if not (quota.isdigit() and period.isdigit() and int(period) > 0):  # "max 100000": no limit
        return None
    return int(quota) // int(period)


def _number(path: Path) -> int | None:
    text = _read(path).strip()
    return int(text) if text.isdigit() else None


def _meminfo(root: Path) -> tuple[int, int | None] | None:
    """Return total and available bytes as Linux says them, or None where it does not."""
    found = {}
    for line in _read(root / "proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        kib = value.split()
        if kib and kib[0].isdigit():
            found[name] = int(kib[0]) * 1024
    return (found["MemTotal"], found.get("MemAvailable")) if "MemTotal" in found else None


def _memory_without_proc() -> tuple[int | None, int | None]:
    """Return total and available bytes on macOS and Windows; where there is no psutil, what sysconf knows."""
    try:
        import psutil  # noqa: PLC0415  # a dependency there; Linux needs none
    except ImportError:
        return _sysconf_bytes(), None
    memory = psutil.virtual_memory()
    return int(memory.total), int(memory.available)


def _sysconf_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def cpu_name(root: Path = Path("/")) -> str | None:
    """Return what the processor calls itself: by this name past runs on it are found again."""
    for line in _read(root / "proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name" and value.strip():
            return value.strip()
    return platform.processor() or platform.machine() or None
