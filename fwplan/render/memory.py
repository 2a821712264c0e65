"""The peak of an estimate: its largest lines, what it takes on each level, the phases of a step."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.estimators.sizes import sizes
from fwplan.render.figures import gib_range
from fwplan.render.terminal import WIDTH
from fwplan.units import GIB, gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimation import Estimate
    from fwplan.estimators.line import Line
    from fwplan.estimators.phases import Phase

_BAR = 10
_SHOWN_LINES = 8
_FORMULA = 17
_SPARKS = "▁▂▃▄▅▆▇█"


def memory_lines(estimate: Estimate) -> Iterator[str]:
    """Yield the peak's lines, its three levels, and the phases of a step; nothing where memory is undecidable."""
    memory, use = estimate.memory, estimate.use
    if memory is None or use is None:
        return
    yield f"[bold]Peak: {memory.phase.label}[/]"
    for line, share in _top(estimate.at_peak()):
        bar = "█" * round(share * _BAR) or "▏"
        formula = _in_numbers(line.formula, estimate)
        note = f"  [dim]{escape(formula)}[/]" if formula else ""
        yield f"  {line.name:30} {gib(line.bytes):>10}  {bar:{_BAR}} {share:4.0%}{note}"
    spread = f"{gib(use.allocated.low)} - {gib(use.allocated.high)}"
    rows = [("allocated", gib(use.allocated.point), spread, estimate.memory_status)]
    if use.reserved:
        rows.append(("reserved", gib_range(use.reserved), "GiB, by the caching allocator", _learned(estimate)))
        rows.append(("needed", gib_range(use.needed), "GiB, with the CUDA context", _learned(estimate)))
    else:
        rows.append(
            ("device used", gib_range(use.device_used), "GiB, resident, with Python and torch", _learned(estimate))
        )
    for name, size, meaning, status in rows:
        yield f"  {name:30} {size:>10}  {meaning} [dim]{status}[/]"
    if estimate.available_bytes is not None and estimate.target:
        device = estimate.target.device
        taken = f" - {gib(device.in_use_bytes)} in use" if device.in_use_bytes else ""
        yield f"  {'available':30} {gib(estimate.available_bytes):>10}  {gib(device.total_bytes or 0)}{taken}"
    correction = round(use.allocated.point) - memory.allocated_bytes
    yield from _phase_lines({phase: total + correction for phase, total in memory.totals.items()})


def _in_numbers(formula: str, estimate: Estimate) -> str:
    """Return a formula with its letters replaced by this run's numbers, where that is short enough to read."""
    letters = sizes(estimate.spec)
    text = re.sub(r"\b[A-Za-z]\b", lambda letter: str(getattr(letters, letter.group(), letter.group())), formula)
    text = text.replace(" * ", "*")
    return text if len(text) <= _FORMULA and "*" in text else ""


def _top(lines: Sequence[Line]) -> Iterator[tuple[Line, float]]:
    """Yield the largest lines with their share; what is left is merged into one, so that the column adds up."""
    total = sum(line.bytes for line in lines)
    shown, rest = lines[:_SHOWN_LINES], lines[_SHOWN_LINES:]
    for line in shown:
        yield line, line.bytes / total
    if rest:
        merged = rest[0]._replace(name=f"{len(rest)} smaller ones", bytes=sum(line.bytes for line in rest), formula="")
        yield merged, merged.bytes / total


def _phase_lines(totals: dict[Phase, int]) -> Iterator[str]:
    """Yield the step's phases as a row of blocks, with their names."""
    largest = max(totals.values())
    sparks = "".join(_SPARKS[min(7, int(8 * total / largest))] for total in totals.values())
    yield f"  {sparks} over a step, in GiB:"
    cells = [f"{phase.label} {total / GIB:.2f}" for phase, total in totals.items() if total > 0.5 * largest]
    line = " "
    for cell in cells:
        if len(line) + len(cell) + 2 > WIDTH:
            yield f"[dim]{line}[/]"
            line = " "
        line += f" {cell}," if cell is not cells[-1] else f" {cell}"
    yield f"[dim]{line}[/]"


def _learned(estimate: Estimate) -> str:
    known = estimate.calibration is not None and estimate.calibration.reserved_ratio is not None
    return "calibrated" if known else "prior"
