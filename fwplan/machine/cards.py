"""The table of known GPUs, cards.csv: each figure with its source and how far that is to be trusted. No torch.

Visible totals are what torch calls total_memory, in MiB, on Linux and on Windows. dense_tflops is the dense bf16 (fp16
where bf16 is "no") matrix rate with fp32 accumulation, fp32_tflops that of plain fp32 products. compute_capability is
what torch.cuda.get_device_capability says, on ROCm too (gfx1100 is 11.0). Cells that nobody is known to have read are
empty, and stay unknown.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from fwplan.spec import DeviceSpec
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Vendor: TypeAlias = Literal["nvidia", "amd", "apple"]
Segment: TypeAlias = Literal[
    "geforce", "geforce_laptop", "titan", "radeon", "workstation", "server_gddr", "server_hbm", "embedded", "apple"
]
Range: TypeAlias = tuple[int, int]
Kin: TypeAlias = frozenset[str]

_AMPERE = 8.0  # compute capability of the first TF32 tensor cores
# What decides how much of the nominal memory torch sees: the class's memory and ECC, not its market. AMD keeps back
# next to nothing, whatever the class.
_KIN: dict[str, tuple[Kin, ...]] = {
    "nvidia": (
        frozenset({"geforce", "geforce_laptop", "titan"}),
        frozenset({"workstation"}),
        frozenset({"server_gddr"}),
        frozenset({"server_hbm"}),
        frozenset({"embedded"}),
    ),
    "amd": (frozenset({"radeon", "workstation", "server_hbm"}),),
}


class Evidence(NamedTuple):
    """Where a figure is from, and how far that is to be trusted: high, medium, low; None: there is no figure."""

    source: str
    confidence: str | None


@dataclass(frozen=True)
class Card:
    """One row of the table; None where a figure is unknown.

    Attributes:
        name: as in the table, such as "GeForce RTX 4070 Ti SUPER".
        vendor: nvidia, amd or apple.
        segment: its class.
        nominal_gib: the memory it is sold with; None: the machine's own (Apple).
        total_bytes: what torch sees on Linux, the lower end of the range.
        total_bytes_range: lowest and highest total known for it.
        total_status: "measured" on this card, "assumed" from its kin, or "unknown".
        windows_total_bytes_range: what torch sees on Windows.
        supports_bf16: has bf16 matrix units.
        dense_tflops: 10^12 FLOP/s of dense bf16 or fp16 matrices, accumulated in fp32.
        fp32_tflops: 10^12 FLOP/s of plain fp32 products, without TF32.
        bandwidth_gb_s: memory bandwidth, 10^9 bytes/s.
        tdp_watts: board power.
        compute_capability: such as "8.9"; empty where torch has none.
        architecture: AMD's name for it, such as "gfx1100".
        sm_count: multiprocessors, compute units or GPU cores.
        notes: what to know about the row.
        of_total, of_tflops, of_fp32, of_bandwidth, of_tdp, of_chip: the evidence for these figures.
    """

    name: str
    vendor: Vendor
    segment: Segment
    nominal_gib: int | None
    total_bytes: int | None
    total_bytes_range: Range | None
    total_status: Literal["measured", "assumed", "unknown"]
    windows_total_bytes_range: Range | None
    supports_bf16: bool
    dense_tflops: float | None
    fp32_tflops: float | None
    bandwidth_gb_s: float | None
    tdp_watts: float | None
    compute_capability: str
    architecture: str
    sm_count: int | None
    boost_mhz: float | None
    notes: str
    of_total: Evidence
    of_tflops: Evidence
    of_fp32: Evidence
    of_bandwidth: Evidence
    of_tdp: Evidence
    of_chip: Evidence

    @property
    def has_tf32(self) -> bool:
        """Whether its tensor cores take fp32 as TF32: NVIDIA's from Ampere on; on ROCm torch wants more than a flag."""
        return self.vendor == "nvidia" and float(self.compute_capability) >= _AMPERE

    @property
    def consumer(self) -> bool:
        """Whether it is a GeForce or a Radeon: one that a desktop may run on."""
        return self.segment in {"geforce", "geforce_laptop", "radeon"}

    def as_dict(self) -> dict[str, Any]:
        """Return the row as `devices --json` prints it: evidence as {source, confidence}, null for unknown."""
        return {key: value._asdict() if isinstance(value, Evidence) else value for key, value in vars(self).items()}

    def spec(self) -> DeviceSpec:
        """Return this device as part of a RunSpec; what others use on it is unknown. torch calls ROCm's "cuda" too."""
        kind: Literal["cuda", "mps"] = "mps" if self.vendor == "apple" else "cuda"
        return DeviceSpec(type=kind, name=self.name, total_bytes=self.total_bytes)


@cache
def gpus() -> tuple[Card, ...]:
    """Return every card of the table."""
    text = files("fwplan.machine").joinpath("cards.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(text.splitlines()))
    return tuple(_device(row, rows) for row in rows)


def _device(row: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> Card:
    measured = _visible(row, "linux")
    total = measured or _assumed_total(row, rows)
    kin = Evidence("assumed from measured cards of its class and size", "low") if total else Evidence("", None)
    return Card(
        name=row["name"],
        vendor=row["vendor"],  # type: ignore[arg-type]  # a test holds every row to the literals
        segment=row["segment"],  # type: ignore[arg-type]
        nominal_gib=int(row["nominal_gib"]) if row["nominal_gib"] else None,
        total_bytes=total[0] if total else None,
        total_bytes_range=total,
        total_status="measured" if measured else "assumed" if total else "unknown",
        windows_total_bytes_range=_visible(row, "windows"),
        supports_bf16=row["bf16"] == "yes",
        dense_tflops=_figure(row["dense_tflops"]),
        fp32_tflops=_figure(row["fp32_tflops"]),
        bandwidth_gb_s=_figure(row["bandwidth_gb_s"]),
        tdp_watts=_figure(row["tdp_watts"]),
        compute_capability=row["compute_capability"],
        architecture=row["architecture"],
        sm_count=int(row["sm_count"]) if row["sm_count"] else None,
        boost_mhz=_figure(row["boost_mhz"]),
        notes=row["notes"],
        of_total=Evidence(row["visible_source"], row["visible_confidence"]) if measured else kin,
        of_tflops=_evidence(row, "tflops"),
        of_fp32=_evidence(row, "fp32"),
        of_bandwidth=_evidence(row, "bandwidth"),
        of_tdp=_evidence(row, "tdp"),
        of_chip=Evidence(row["chip_source"], None),
    )


def _figure(cell: str) -> float | None:
    return float(cell) if cell else None


def _evidence(row: Mapping[str, str], figure: str) -> Evidence:
    return Evidence(row[f"{figure}_source"], row[f"{figure}_confidence"] or None)


def _visible(row: Mapping[str, str], system: str) -> Range | None:
    low, high = row[f"visible_low_mib_{system}"], row[f"visible_high_mib_{system}"]
    return (int(low) * MIB, int(high) * MIB) if low else None


def _assumed_total(row: Mapping[str, str], rows: Iterable[Mapping[str, str]]) -> Range | None:
    """Return bytes from measured kin of the same size; where there are none, from all kin's share of the nominal."""
    if not row["nominal_gib"]:
        return None
    kin = next(group for group in _KIN[row["vendor"]] if row["segment"] in group)
    family = [other for other in rows if other["vendor"] == row["vendor"] and other["segment"] in kin]
    known = [(int(other["nominal_gib"]), seen) for other in family if (seen := _visible(other, "linux"))]
    nominal = int(row["nominal_gib"])
    return _scaled([(size, seen) for size, seen in known if size == nominal] or known, nominal)


def _scaled(known: Iterable[tuple[int, Range]], nominal_gib: float) -> Range:
    """Return the lowest and highest total for a nominal size, in proportion to cards of (nominal GiB, range)."""
    shares = [(low / size, high / size) for size, (low, high) in known]
    low, high = min(low for low, _ in shares), max(high for _, high in shares)
    return round(low * nominal_gib), round(high * nominal_gib)


def gpus_with(nominal_gib: float) -> list[Card]:
    """Return NVIDIA's desktop and server cards that are sold with this much memory."""
    return [gpu for gpu in _boards() if gpu.nominal_gib == nominal_gib]


def usable_total(nominal_gib: float) -> Range:
    """Return the lowest and highest total in bytes that torch may see on an NVIDIA card of this nominal size.

    From the measured desktop and server cards of that size; where there are none, from the share of the nominal size
    that all measured ones show.
    """
    seen = [(gpu.nominal_gib, gpu.total_bytes_range) for gpu in _boards() if gpu.total_status == "measured"]
    known = [(size, total) for size, total in seen if size is not None and total is not None]
    return _scaled([(size, total) for size, total in known if size == nominal_gib] or known, nominal_gib)


def _boards() -> list[Card]:
    """Return the cards that a nominal size alone may mean: NVIDIA's, as AMD's and Apple's are asked for by name."""
    return [gpu for gpu in gpus() if gpu.vendor == "nvidia" and gpu.segment not in {"geforce_laptop", "embedded"}]
