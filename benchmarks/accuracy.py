"""How right the predicted peaks are: beside measured and published GPU runs, and beside real steps on this CPU.

    python benchmarks/accuracy.py                  all published rows, 36 drawn eager CPU steps
    python benchmarks/accuracy.py --quick          8 of the CPU steps
    python benchmarks/accuracy.py --compiled       and compiled CPU steps (needs a C++ compiler, takes minutes)
    python benchmarks/accuracy.py results.jsonl    what `fwplan measure` wrote; else benchmarks/results/*.jsonl

Writes a result file and, unless --quick, docs/accuracy.md's picture from it (benchmarks/picture.py). Peaks are
allocated bytes: live tensors, not what an allocator reserves. Errors are (predicted - measured) / measured.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from campaign import CampaignRow, by_mode, campaign_rows
from cpu_steps import CpuRow, measure
from drawn import SEED, compiled_specs, describe, eager_specs
from picture import PICTURE, draw
from published import MODES, OFF, PublishedRow, published_rows
from report import error_summary, table, write_result

from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.spec import RunSpec

EAGER_SPECS, QUICK_SPECS = 36, 8
OFF_MEASURED = 0.02  # a row of a campaign further off than this is listed
SHOWN = 0.01  # a CPU step further off than this is pointed out
_SPEC_COLUMNS = ("model", "BxT", "accum", "dtype", "bias", "tied", "loss", "ckpt", "adamw")
Summary = dict[str, dict[str, float | int]]


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("results", nargs="*", type=Path, help="results files of fwplan measure")
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_SPECS} CPU steps in place of {EAGER_SPECS}")
    parser.add_argument("--compiled", action="store_true", help="compiled CPU steps too")
    parser.add_argument("--seed", type=int, default=SEED, help="draw other specs (default %(default)s)")
    options = parser.parse_args()

    campaign = campaign_rows(options.results)
    summary = _campaign_summary(campaign)
    _print_campaign(campaign)
    rows = published_rows()
    summary |= {f"published, {mode}": _published_summary(rows, mode) for mode in MODES}
    _print_published(rows)
    eager = _measure("Eager CPU steps", eager_specs(QUICK_SPECS if options.quick else EAGER_SPECS, options.seed))
    summary["CPU, eager"] = error_summary(row.error for row in eager)
    compiled = _measure("Compiled CPU steps", compiled_specs(options.seed)) if options.compiled else []
    if compiled:
        summary["CPU, compiled"] = error_summary(row.error for row in compiled)
    _print_summary(summary, options.seed)
    body: dict[str, Any] = {
        "unit": "allocated bytes of live tensors at the peak of a step; error is (predicted - measured) / measured",
        "seed": options.seed,
        "threads": torch.get_num_threads(),  # on CPU, half-precision matmuls and attention take scratch for each
        "summary": summary,
        "campaign_by_mode": by_mode(campaign),
        "campaign": [row.as_dict() for row in campaign],
        "published": [row.as_dict() for row in rows],
        "cpu_eager": [row.as_dict() for row in eager],
        "cpu_compiled": [row.as_dict() for row in compiled],
    }
    print(f"\nwritten: {write_result('accuracy-quick' if options.quick else 'accuracy', body).name}")
    if not options.quick:
        print(f"written: {PICTURE.name}" if draw(body) else "no picture: pip install -e '.[bench]' for matplotlib")


def _campaign_summary(rows: Sequence[CampaignRow]) -> Summary:
    """Return a row for each device and kind of run."""
    kinds = dict.fromkeys((row.device, row.kind) for row in rows)
    return {
        f"{device}, {kind}": error_summary(row.error for row in rows if (row.device, row.kind) == (device, kind))
        for device, kind in kinds
    }


def _print_campaign(rows: Sequence[CampaignRow]) -> None:
    if not rows:
        return
    print(f"Measured by fwplan measure, {', '.join(dict.fromkeys(f'{r.device} (torch {r.torch})' for r in rows))}\n")
    print(table(("mode", "rows", "median", "p95", "worst"), _cells(by_mode(rows))))
    off = sorted((row for row in rows if abs(row.error) > OFF_MEASURED), key=lambda row: -abs(row.error))
    print(f"\nOff by more than {OFF_MEASURED:.0%}: {len(off)}")
    for row in off:
        print(f"  {row.error:+.2%} of {row.measured_bytes / MIB:.0f} MiB: {row.spec} ({row.kind})")
    print()


def _cells(summary: Summary) -> list[tuple[str, ...]]:
    return [
        (name, f"{s['rows']}", f"{s['median']:.2%}", f"{s['p95']:.2%}", f"{s['worst']:.2%}")
        for name, s in summary.items()
        if s["rows"]
    ]


def _published_summary(rows: Sequence[PublishedRow], mode: str) -> dict[str, float | int]:
    return error_summary(row.error for row in rows if row.mode == mode)


def _print_published(rows: Sequence[PublishedRow]) -> None:
    print("Published peaks, MiB allocated\n")
    cells = [
        (
            r.id,
            r.mode,
            f"{r.published_mib}",
            f"{r.predicted_mib:.0f}",
            f"{r.error:+.2%}",
            "" if r.in_interval else "out",
        )
        for r in rows
    ]
    print(table(("run", "mode", "published", "predicted", "error", "interval"), cells))
    off = [row for row in rows if abs(row.error) > OFF]
    if off:
        print(f"\nOff by more than {OFF:.0%}, and what the source says:")
    for row in off:
        print(f"  {row.id}: {row.published_mib} MiB published, {row.predicted_mib:.0f} predicted")
        print(textwrap.fill(row.note, 100, initial_indent="    ", subsequent_indent="    "))


def _measure(title: str, specs: Sequence[RunSpec]) -> list[CpuRow]:
    rows = []
    for i, spec in enumerate(specs, 1):
        print(f"\r{title}: {i}/{len(specs)}", end="", file=sys.stderr, flush=True)
        rows.append(measure(spec))
    print(file=sys.stderr)
    print(f"\n{title}, MiB of live tensors\n")
    cells = [
        (
            *describe(row.spec),
            f"{row.measured_bytes / MIB:.2f}",
            f"{row.predicted_bytes / MIB:.2f}",
            f"{row.error:+.2%}{' <' if abs(row.error) > SHOWN else '  '}",
            "" if row.in_interval else "out",
            row.phase,
        )
        for row in rows
    ]
    print(table((*_SPEC_COLUMNS, "measured", "predicted", "error  ", "interval", "predicted phase"), cells))
    return rows


def _print_summary(summary: Summary, seed: int) -> None:
    print(f"\nSize of the error (CPU specs drawn with seed {seed})\n")
    print(table(("", "rows", "median", "p95", "worst"), _cells(summary)))


if __name__ == "__main__":
    main()
