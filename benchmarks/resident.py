"""How much of this machine's memory a CPU run takes beside its live tensors: the resident interval against real runs.

    python benchmarks/resident.py            12 eager and 4 compiled runs, each in a process of its own
    python benchmarks/resident.py --quick    4 of the eager ones

Each run is a dry run, as `fwplan run --dry-run` has it: an evaluation and a few steps on random tokens. Its largest
resident set stands beside the interval that the estimate prints for it.
fwplan/estimators/overhead.py takes its constants for CPU runs from here.
"""

from __future__ import annotations

import multiprocessing
from itertools import islice
from typing import TYPE_CHECKING, Any

import torch
from drawn import compiled_specs, describe, drawing_options, eager_specs
from report import table, write_result

from fwplan.estimators.levels import device_use
from fwplan.estimators.memory import estimate_memory
from fwplan.train.dry_run import dry_run
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.spec import RunSpec

COUNT, QUICK = 12, 4
LARGE = 256 * MIB  # of live tensors: half of the eager runs have more, where what goes with them shows


def specs(count: int, seed: int) -> Iterator[RunSpec]:
    """Yield count eager specs, by turns any and a large one, and where they are not few a third as many compiled."""
    drawn = eager_specs(8 * count, seed)
    large = (spec for spec in drawn[count:] if estimate_memory(spec).allocated_bytes > LARGE)
    yield from drawn[: count - count // 2]
    yield from islice(large, count // 2)
    if count > QUICK:
        yield from compiled_specs(seed)[::3][: count // 3]


def measure(spec: RunSpec) -> dict[str, Any]:
    """Return a run's live and resident bytes beside the interval that is printed for it."""
    memory = estimate_memory(spec)
    use = device_use(spec, memory, "cpu", None)
    found = dry_run(spec, torch.device("cpu"), memory.allocated_bytes)
    resident = found.rss_bytes or 0
    return {
        "live_bytes": found.peak_allocated_bytes,
        "resident_bytes": resident,
        "interval": use.device_used.ends,
        "in_interval": use.device_used.low <= resident <= use.device_used.high,
        "compiled": spec.train.compile,
        "spec": " ".join(describe(spec)),
    }


def main() -> None:
    """Measure, print, and write the result file."""
    options = drawing_options(__doc__, count=COUNT, quick=QUICK)
    rows = []
    for spec in specs(options.count, options.seed):
        with multiprocessing.get_context("spawn").Pool(1) as pool:  # a resident set never shrinks: one process each
            rows.append(pool.apply(measure, (spec,)))
        print(rows[-1], flush=True)
    cells = [
        (row["spec"], *(f"{row[key] / MIB:.0f}" for key in ("live_bytes", "resident_bytes")),
         "{:.0f}-{:.0f}".format(*(end / MIB for end in row["interval"])), "" if row["in_interval"] else "outside")
        for row in rows
    ]  # fmt: skip
    print(table(("run", "live MiB", "resident", "said", ""), cells))
    held = sum(row["in_interval"] for row in rows)
    print(f"\n{held} of {len(rows)} runs lie inside the printed interval")
    body = {"seed": options.seed, "runs": len(rows), "inside": held, "rows": rows}
    print(f"written: {write_result('resident-quick' if options.quick else 'resident', body).name}")


if __name__ == "__main__":
    main()
