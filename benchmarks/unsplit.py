"""What torch's `allocated` counts beyond live tensors: the parts of cached blocks that are not split off.

    python benchmarks/unsplit.py            60 drawn runs of all shapes, small vocabularies too
    python benchmarks/unsplit.py --quick    8 of them

A freed block serves a smaller request whole where less than 1 MiB (512 bytes in the pool of small blocks) would be left
over, and counts whole. Each run is traced and replayed: its peak as the allocator counts it, over the trace's own.
fwplan/estimators/overhead.py takes UNSPLIT_SHARE from here.
"""

from __future__ import annotations

from typing import Any

from drawn import drawing_options, one_line, traced_specs
from report import write_result
from reserved import distribution

import fwplan
from fwplan.allocator.replay import replay

COUNT, QUICK = 60, 8


def main() -> None:
    """Replay, print, and write the result file."""
    options = drawing_options(__doc__, count=COUNT, quick=QUICK)
    rows: list[list[Any]] = []
    for spec in traced_specs(options.count, options.seed):
        trace = fwplan.trace(spec)
        live, counted = max(trace.live_bytes), replay(trace.events).peak_allocated_bytes
        rows.append([one_line(spec), live, counted])
        print(f"{counted / live:.4f}  {rows[-1][0]}", flush=True)
    ratios = distribution(counted / live for _, live, counted in rows)
    print(ratios)
    body = {"seed": options.seed, "ratios": ratios, "columns": ["spec", "live_bytes", "counted_bytes"], "rows": rows}
    print(f"written: {write_result('unsplit-quick' if options.quick else 'unsplit', body).name}")


if __name__ == "__main__":
    main()
