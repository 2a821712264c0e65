"""Figures beside those that other people published for their own GPUs: how many lie inside the printed interval.

    python benchmarks/published.py

published.jsonl holds peaks and speeds, throughput.jsonl speeds (llm-foundry), bounds.jsonl runs that died: what was
allocated and what was asked for then is the least that they need. One row a run, each with its source. Not here, as no
spec says them: a loss layer alone (Liger's benchmarks), RoPE and Muon (modded-nanogpt), a run whose micro-batch is not
stated (nanoGPT's issue 61).
"""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from report import table, write_result
from throughput import ThroughputRow, throughput_rows

from fwplan.estimators.memory import estimate_memory
from fwplan.machine import find_gpu
from fwplan.spec import DeviceSpec, RunSpec, parse_spec
from fwplan.units import MIB

HERE = Path(__file__).parent
PUBLISHED, BOUNDS = HERE / "published.jsonl", HERE / "bounds.jsonl"
MODES = ("eager", "compiled", "checkpointed", "math attention")
OFF = 0.06  # a row further off than this is listed with what its source says about it
# What is known of the rows outside their interval; every other one that is outside is an error of ours.
WHY = {
    "gollem-124M-H100-b1-0_baseline": "in memory 1.1 GB more than an RTX 3090 took for the same configuration, "
    "unexplained at its source; in time at micro-batch 1 in plain fp32, where products fill a third of the card",
    "gollem-1558M-80GB-b2-noac": "as long a step as micro-batch 4: its timing was disturbed",
}


@dataclass(frozen=True)
class PublishedRow:
    """One published peak and ours, in MiB. error is (predicted - published) / published."""

    id: str
    mode: str
    gpu: str
    published_mib: int
    predicted_mib: float
    extra_mib: float  # of the prediction: buffers of their model that a spec does not describe, less what theirs saves
    error: float
    phase: str
    in_interval: bool  # whether the estimate's own interval holds the published peak
    note: str

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the result file keeps it."""
        return asdict(self)


def published_rows() -> list[PublishedRow]:
    """Return every row of published.jsonl beside its prediction, in the file's order."""
    return [_row(case) for case in _cases(PUBLISHED)]


def _cases(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def spec_of(case: dict[str, Any]) -> RunSpec:
    """Return the run of a row, on the card that it ran on."""
    card = find_gpu(case["card"]).name
    return parse_spec(case["spec"], case["id"]).model_copy(update={"device": DeviceSpec(name=card)})


def _row(case: dict[str, Any]) -> PublishedRow:
    spec = spec_of(case)
    memory, extra, published = estimate_memory(spec), case["extra_bytes"], case["peak_allocated_mib"]
    predicted = (memory.allocated_bytes + extra) / MIB
    low, high = ((end + extra) / MIB for end in memory.allocated_interval)
    return PublishedRow(
        id=case["id"],
        mode=_mode(spec),
        gpu=case["gpu"],
        published_mib=published,
        predicted_mib=round(predicted, 1),
        extra_mib=round(extra / MIB, 1),
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


def bounds() -> dict[str, bool]:
    """Return, by id, whether the interval reaches what a run that died had and asked for."""
    return {
        case["id"]: estimate_memory(spec_of(case)).allocated_interval[1] >= case["least_needed_mib"] * MIB
        for case in _cases(BOUNDS)
    }


def main() -> None:
    """Print how many rows lie inside, and why the others do not; write the result file."""
    peaks, speeds, died = published_rows(), throughput_rows(), bounds()
    inside = {
        "peak allocated": [row.in_interval for row in peaks],
        "seconds a step": [row.in_interval for row in speeds],
        "least needed, of runs that died": list(died.values()),
    }
    cells = [(name, f"{sum(held)}", f"{len(held)}") for name, held in inside.items()]
    print(table(("inside the printed interval", "rows", "of"), cells))
    outside = [*_outside(peaks), *_outside(speeds)]
    outside += [f"{name}: said to need less than it had" for name, held in died.items() if not held]
    for line in outside:
        print(textwrap.fill(line, 100, initial_indent="  ", subsequent_indent="    "))
    body = {
        "summary": {name: {"inside": sum(held), "rows": len(held)} for name, held in inside.items()},
        "outside": outside,
        "peaks": [row.as_dict() for row in peaks],
        "speeds": [asdict(row) | {"error": round(row.error, 4)} for row in speeds],
        "bounds": died,
    }
    print(f"\nwritten: {write_result('published', body).name}")


def _outside(rows: list[PublishedRow] | list[ThroughputRow]) -> list[str]:
    return [
        f"{row.id}: {row.error:+.0%}. {WHY.get(row.id, 'unexplained: an error of ours')}"
        for row in rows
        if not row.in_interval
    ]


if __name__ == "__main__":
    main()
