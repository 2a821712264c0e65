"""What this machine's processor is, by /proc and cgroups, and one short matrix multiplication. No torch."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.spec import DeviceSpec

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True)
class Cpu:
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
) -> Cpu:
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
    return Cpu(
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
