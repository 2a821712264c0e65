"""What the caching allocator makes of a step: reserved and least capacity, over the closed form's allocated peak.

    python benchmarks/reserved.py            120 drawn runs of GPT-2's family, 1 to 30 GiB
    python benchmarks/reserved.py --quick    8 of them

Each is traced (three steps, an evaluation after each) and its allocations replayed through the model of PyTorch's
caching allocator, with separate segments and with expandable ones: without a limit, for what it would reserve, and
under limits, for the least capacity that it fits. fwplan/estimators/overhead.py takes its ratios from here.
"""

from __future__ import annotations

import math
import multiprocessing
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from drawn import drawing_options, one_line, realistic_specs
from report import table, write_result

import fwplan
from fwplan.allocator.replay import replay, smallest_capacity
from fwplan.allocator.settings import Settings
from fwplan.estimators.memory import estimate_memory
from fwplan.units import GIB

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwplan.spec import RunSpec

COUNT, QUICK = 120, 8
DEFAULT, EXPANDABLE = Settings(), Settings(expandable_segments=True)
KINDS = ("reserved", "least capacity", "reserved, expandable", "least capacity, expandable")


@dataclass(frozen=True)
class Row:
    """One run: the closed form's peak, the trace's, and what the allocator needs for it, by KINDS; in bytes."""

    spec: RunSpec
    predicted_bytes: int
    traced_bytes: int  # of everything replayed, as the allocator counts it
    needed_bytes: tuple[int, ...]

    @property
    def ratios(self) -> tuple[float, ...]:
        """What the allocator needs over the closed form's peak."""
        return tuple(needed / self.predicted_bytes for needed in self.needed_bytes)

    def as_list(self) -> list[Any]:
        """Return the row as the result file keeps it: its columns are named once."""
        return [one_line(self.spec), self.predicted_bytes, self.traced_bytes, *self.needed_bytes]


def measure(spec: RunSpec) -> Row:
    """Trace the spec and replay it four times over."""
    events = fwplan.trace(spec).events
    free, expandable = replay(events, settings=DEFAULT), replay(events, settings=EXPANDABLE)
    return Row(
        spec,
        estimate_memory(spec).allocated_bytes,
        free.peak_allocated_bytes,
        (
            free.peak_reserved_bytes,
            smallest_capacity(events, settings=DEFAULT),
            expandable.peak_reserved_bytes,
            smallest_capacity(events, settings=EXPANDABLE),
        ),
    )


def distribution(ratios: Iterable[float]) -> dict[str, float]:
    """Return the least, the 5th, 50th, 90th and 95th percentile (nearest rank: a run that exists), and the most."""
    ordered = sorted(ratios)

    def at(share: float) -> float:
        return round(ordered[max(math.ceil(share * len(ordered)), 1) - 1], 4)

    return {"min": at(0), "p5": at(0.05), "median": at(0.5), "p90": at(0.9), "p95": at(0.95), "max": at(1)}


def main() -> None:
    """Replay, print, and write the result file."""
    options = drawing_options(__doc__, count=COUNT, quick=QUICK)
    rows = measure_all(realistic_specs(options.count, options.seed), options.workers)
    groups = {name: [row for row in rows if chosen(row.spec)] for name, chosen in GROUPS.items()}
    summary = {
        name: {kind: distribution(row.ratios[i] for row in group) for i, kind in enumerate(KINDS)}
        | {"runs": len(group)}
        for name, group in groups.items()
        if group
    }
    counted = distribution(row.traced_bytes / row.predicted_bytes for row in rows)
    print_summary(summary, counted)
    body = {
        "unit": "bytes; ratios are over the closed form's allocated peak",
        "seed": options.seed,
        "allocated_by_the_allocator": counted,
        "ratios": summary,
        "columns": ["spec", "predicted_bytes", "allocated_bytes", *KINDS],
        "rows": [row.as_list() for row in rows],
    }
    print(f"\nwritten: {write_result('reserved-quick' if options.quick else 'reserved', body).name}")


GROUPS: dict[str, Any] = {
    "all": lambda _: True,
    "full loss": lambda spec: spec.train.loss.name == "full",
    "chunked loss": lambda spec: spec.train.loss.name == "chunked",
    "checkpointed": lambda spec: spec.train.checkpointing != "none",
    "accumulating": lambda spec: spec.train.grad_accum_steps > 1,
    "larger evaluation": lambda spec: spec.train.eval_micro_batch_size is not None,
    "peak under 4 GiB": lambda spec: estimate_memory(spec).allocated_bytes < 4 * GIB,
    "peak over 12 GiB": lambda spec: estimate_memory(spec).allocated_bytes > 12 * GIB,
}


def measure_all(specs: Sequence[RunSpec], workers: int) -> list[Row]:
    """Return the rows of all specs, in order; a few processes share the work, with a thread each."""
    rows = []
    with multiprocessing.get_context("spawn").Pool(workers, partial(torch.set_num_threads, 1)) as pool:
        for row in pool.imap(measure, specs):
            rows.append(row)
            print(f"\rreplayed {len(rows)}/{len(specs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def print_summary(summary: dict[str, Any], counted: dict[str, float]) -> None:
    """Print the distributions of ratios, by group of runs."""
    names = ("min", "p5", "median", "p90", "p95", "max")
    print("Over the closed form's allocated peak\n")
    cells = [("allocated, as the allocator counts", *(f"{counted[name]:.3f}" for name in names))]
    for group, kinds in summary.items():
        cells.append((f"{group} ({kinds['runs']} runs)", *("" for _ in names)))
        cells += [(f"  {kind}", *(f"{kinds[kind][name]:.3f}" for name in names)) for kind in KINDS]
    print(table(("", *names), cells))


if __name__ == "__main__":
    main()
