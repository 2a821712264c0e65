"""The peak of an estimate: its largest lines, what it takes on each level, the phases of a step."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH
from fwplan.estimators.moments.mode import numbers_of
from fwplan.tape.phases import EVALUATION
from fwplan.units import GIB, gib
from fwplan.view.figures import gib_range

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimation.estimate import Estimate
    from fwplan.tape.line import Line
    from fwplan.tape.phases import Phase

_BAR = 10
_SHOWN_LINES = 8
_LEFT = 41  # columns of a name and a size
_FORMULA = 17
_SPARKS = "▁▂▃▄▅▆▇█"


def memory_lines(estimate: Estimate, *, replayed: bool = False) -> Iterator[str]:
    """Yield the peak's lines, its three levels, and the phases of a step; nothing where memory is undecidable.

    replayed: a trace's replay says what the allocator takes, to a point.
    """
    memory, use = estimate.memory, estimate.use
    if memory is None or use is None:
        return
    yield f"[bold]Peak: {memory.phase.label}[/]"
    for line, share in _top(estimate.at_peak()):
        yield from _tensor_lines(line, share, _in_numbers(line.formula, estimate))
    spread = f"{gib(use.allocated.low)} - {gib(use.allocated.high)}"
    rows = [("allocated", gib(use.allocated.point), spread, estimate.memory_status)]
    if use.reserved and replayed:
        for name, level, meaning in (("reserved", use.reserved, ""), ("needed", use.needed, ", with CUDA's context")):
            rows.append((name, gib(level.point), f"{gib_range(level)} GiB{meaning}", "by replay"))
    elif use.reserved:
        rows.append(("reserved", gib_range(use.reserved), "GiB, by torch's allocator", _learned(estimate)))
        rows.append(("needed", gib_range(use.needed), "GiB, with CUDA's context", _learned(estimate)))
    else:
        rows.append(("device used", gib_range(use.device_used), "GiB resident, with torch", _learned(estimate)))
    for name, size, meaning, status in rows:
        yield from _level_lines(name, size, meaning, status)
    if estimate.available_bytes is not None and estimate.target:
        device = estimate.target.device
        taken = f" - {gib(device.in_use_bytes)} in use" if device.in_use_bytes else ""
        yield f"{_cells('available', gib(estimate.available_bytes))}  {gib(device.total_bytes or 0)}{taken}"
    yield from _phase_lines(estimate.totals)


def _tensor_lines(line: Line, share: float, formula: str) -> Iterator[str]:
    """Yield a line of the estimate as a row: name, size, share and, where there is room, its formula."""
    size, bar = gib(line.bytes), f"  {'█' * round(share * _BAR) or '▏':{_BAR}} {share:4.0%}"
    *above, name = textwrap.wrap(line.name, WIDTH - len(f"   {size}{bar}"), subsequent_indent="  ")
    yield from (f"  {part}" for part in above)
    row = f"{_cells(name, size)}{bar}"
    fits = formula and len(row) + 2 + len(formula) <= WIDTH
    yield f"{row}  [dim]{escape(formula)}[/]" if fits else row


def _cells(name: str, size: str) -> str:
    """Return a row's first two columns; where one is too long for its own, it takes of the other's room."""
    return f"  {name} {size:>{max(0, _LEFT - 1 - len(name))}}"


def _level_lines(name: str, size: str, meaning: str, status: str) -> Iterator[str]:
    """Yield a level of memory; what is too long for the terminal goes on below its own column."""
    cells = _cells(name, size)
    *first, last = textwrap.wrap(f"{meaning} {status}", WIDTH - len(cells) - 2, break_on_hyphens=False)
    rows = [*(escape(row) for row in first), f"{escape(last.removesuffix(status))}[dim]{status}[/]"]
    for row in rows:
        yield f"{cells}  {row}"
        cells = " " * len(cells)


def _in_numbers(formula: str, estimate: Estimate) -> str:
    """Return a formula with its letters replaced by this run's numbers, where that is short enough to read."""
    numbers = numbers_of(estimate.spec)
    text = re.sub(r"\b[A-Za-z]\b", lambda letter: str(numbers.get(letter.group(), letter.group())), formula)
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
    what = "an evaluation" if all(phase & EVALUATION for phase in totals) else "a step"
    yield f"  {sparks} over {what}, in GiB:"
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
