"""How far the closed form is from the trace: eager steps in every mode, on CUDA's kernels and rounding. No GPU needed.

    python benchmarks/closed_form.py                 600 drawn specs
    python benchmarks/closed_form.py --quick         40 of them
    python benchmarks/closed_form.py --count 1000    more
    python benchmarks/closed_form.py --architecture llama --count 100    specs of another architecture than GPT-2

A trace runs the bundled model's own step on fake tensors and sums what lives; the closed form is arithmetic. What is
compared is the peak of a training step and, where an evaluation's micro-batch is larger, its peak too. Errors are
(closed form - trace) / trace.
"""

from __future__ import annotations

import multiprocessing
import sys
import time
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

import torch
from drawn import drawing_options, one_line
from drawn_models import MODELS, specs_of
from report import error_summary, table, write_result
from traced import trace_evaluation

import fwplan
from fwplan.estimators.memory import estimate_memory
from fwplan.learning.modes import modes
from fwplan.tape.phases import EVALUATION, STEP_PHASES, Phase
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.spec import RunSpec

COUNT, QUICK = 600, 40
SHOWN = 0.001  # a spec further off than this is listed
WORST, MEDIAN = 0.001, 0.00001  # the targets
COLUMNS = ("what", "spec", "predicted_bytes", "traced_bytes", "error", "phase", "op")


@dataclass(frozen=True)
class Row:
    """One moment of one spec, in bytes: what the closed form says and where, what the trace says and by which op."""

    spec: RunSpec
    what: str  # "step" or "evaluation"
    predicted_bytes: int
    traced_bytes: int
    phase: str
    op: str
    seconds: float

    @property
    def error(self) -> float:
        """Signed relative error of the closed form."""
        return self.predicted_bytes / self.traced_bytes - 1

    @property
    def modes(self) -> list[str]:
        """The rows of the table that this one counts in."""
        return modes(self.spec) if self.what == "step" else ["an evaluation's own peak"]

    def as_list(self) -> list[Any]:
        """Return the row as the result file keeps it: COLUMNS."""
        spec = one_line(self.spec)
        return [self.what, spec, self.predicted_bytes, self.traced_bytes, round(self.error, 6), self.phase, self.op]


def compare(spec: RunSpec) -> list[Row]:
    """Return the spec's step and, where it is one of its own, its evaluation."""
    memory = estimate_memory(spec)
    trace = fwplan.trace(spec)
    phase = max((p for p in memory.totals if p & STEP_PHASES), key=memory.totals.__getitem__)
    rows = [_row(spec, "step", memory.step_bytes, phase, trace)]
    if memory.evaluation_bytes is not None:
        phase = max((p for p in memory.totals if p & EVALUATION), key=memory.totals.__getitem__)
        rows.append(_row(spec, "evaluation", memory.evaluation_bytes, phase, trace_evaluation(spec)))
    return rows


def _row(spec: RunSpec, what: str, predicted: int, phase: Phase, trace: fwplan.Trace) -> Row:
    origin = trace.peak_op
    return Row(
        spec, what, predicted, trace.peak_allocated_bytes, phase.label, f"{origin.op} @ {origin.where}", trace.seconds
    )


def main() -> None:
    """Compare, print, and write the result file."""
    options = drawing_options(__doc__, count=COUNT, quick=QUICK, architectures=("gpt2", *MODELS))

    print(f"Off by more than {SHOWN:.1%}: the trace's peak; what; the phase predicted; the op traced; the spec\n")
    begin = time.perf_counter()
    rows = compare_all(specs_of(options.architecture, options.count, options.seed), options.workers)
    seconds = time.perf_counter() - begin
    steps = error_summary(row.error for row in rows if row.what == "step")
    summary = {"all steps": steps} | {
        mode: error_summary(r.error for r in rows if mode in r.modes) for mode in _modes(rows)
    }
    print_summary(summary)
    holds = steps["worst"] <= WORST and steps["median"] <= MEDIAN
    print(f"\ntargets: worst <= {WORST:.1%}, median <= {MEDIAN:.3%}: {'held' if holds else 'MISSED'}")
    traced = median(row.seconds for row in rows)
    print(f"{len(rows)} comparisons in {seconds:.0f} s; a trace takes {traced:.1f} s (median)")
    body = {
        "unit": "allocated bytes at the peak; error is (closed form - trace) / trace",
        "seed": options.seed,
        "targets": {"worst": WORST, "median": MEDIAN, "held": holds},
        "seconds": round(seconds, 1),
        "median_trace_seconds": round(traced, 3),
        "summary": summary,
        "columns": COLUMNS,
        "rows": [row.as_list() for row in rows],
    }
    parts = ["closed-form", *([options.architecture] if options.architecture != "gpt2" else [])]
    print(f"\nwritten: {write_result('-'.join([*parts, *(['quick'] if options.quick else [])]), body).name}")


def compare_all(specs: Sequence[RunSpec], workers: int) -> list[Row]:
    """Return the rows of all specs, in order; a few processes share the work, a thread each."""
    rows: list[Row] = []
    with multiprocessing.get_context("spawn").Pool(workers, torch.set_num_threads, (1,)) as pool:
        for i, found in enumerate(pool.imap(compare, specs), 1):
            rows += found
            print_off(found)
            print(f"\rtraced {i}/{len(specs)}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return rows


def _modes(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(mode for row in rows for mode in row.modes))


def print_off(rows: Sequence[Row]) -> None:
    """Print each comparison that is further off than SHOWN, at once: a whole run takes its time."""
    for row in rows:
        if abs(row.error) > SHOWN:
            print(f"{row.error:+.2%} of {row.traced_bytes / MIB:.1f} MiB: {row.what}; {row.phase}; {row.op}")
            print(f"    {one_line(row.spec)}", flush=True)


def print_summary(summary: dict[str, dict[str, float | int]]) -> None:
    """Print the table of modes."""
    print("\nClosed form against trace, size of the error; a spec counts in each of its modes\n")
    cells = [
        (name, f"{s['rows']}", f"{s['median']:.3%}", f"{s['p95']:.2%}", f"{s['worst']:.2%}")
        for name, s in summary.items()
    ]
    print(table(("", "rows", "median", "p95", "worst"), cells))


if __name__ == "__main__":
    main()
