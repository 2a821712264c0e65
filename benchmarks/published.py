"""Predicted peaks beside those that other people published for their own GPUs: published.jsonl, one row a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fwplan.estimators.memory import estimate_memory
from fwplan.spec import RunSpec, parse_spec
from fwplan.units import MIB

PUBLISHED = Path(__file__).parent / "published.jsonl"
MODES = ("eager", "compiled", "checkpointed", "math attention")
OFF = 0.06  # a row further off than this is listed with what its source says about it


@dataclass(frozen=True)
class PublishedRow:
    """One published peak and ours, in MiB. error is (predicted - published) / published."""

    id: str
    mode: str
    gpu: str
    published_mib: int
    predicted_mib: float
    extra_mib: float  # of the prediction: buffers of their model that a spec does not describe
    error: float
    phase: str
    in_interval: bool  # whether the estimate's own interval holds the published peak
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the result file keeps it."""
        return asdict(self)


def published_rows() -> list[PublishedRow]:
    """Return every row of published.jsonl beside its prediction, in the file's order."""
    with PUBLISHED.open(encoding="utf-8") as lines:
        return [_row(json.loads(line)) for line in lines]


def _row(case: dict[str, Any]) -> PublishedRow:
    spec = parse_spec(case["spec"], case["id"])  # names no device: sized for CUDA
    memory, extra, published = estimate_memory(spec), case["extra_bytes"], case["peak_allocated_mib"]
    predicted = (memory.allocated_bytes + extra) / MIB
    low, high = ((end + extra) / MIB for end in memory.allocated_interval)
    return PublishedRow(
        id=case["id"],
        mode=_mode(spec),
        gpu=case["gpu"],
        published_mib=published,
        predicted_mib=round(predicted, 1),
        extra_mib=extra / MIB,
        error=round(predicted / published - 1, 6),
        phase=memory.phase.label,
        in_interval=low - 1 <= published <= high,  # published peaks are rounded down to a MiB
        note=case["note"],
    )


def _mode(spec: RunSpec) -> str:
    if spec.train.attention == "math":
        return "math attention"
    if spec.train.checkpointing != "none":
        return "checkpointed"
    return "compiled" if spec.train.compile else "eager"
