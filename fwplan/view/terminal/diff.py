"""What `diff` says: the settings that differ, the lines of both peaks, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.units import duration_range, flops, gib, si
from fwplan.view.figures import gib_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwplan.estimation.estimate import Estimate
    from fwplan.explaining.difference import Diff

_SHOWN = 14
_VERDICTS = {
    "fits": "fits",
    "fits_at_point": "may fit",
    "does_not_fit": "does not fit",
    "undecidable": "undecidable",
    "no_device": "no device named",
}


def diff_lines(found: Diff) -> Iterator[str]:
    """Yield everything `diff` says."""
    changes = found.changes
    if not changes:
        yield "[bold]The two runs are the same.[/]"
        return
    yield f"[bold]{'Settings that differ':34}{'before':>14}{'after':>14}[/]"
    for change in changes:
        yield f"  {change.field:32}{escape(str(change.before)):>14}{escape(str(change.after)):>14}"
    yield ""
    yield f"[bold]{'At the peak':34}{'before':>14}{'after':>14}{'difference':>14}[/]"
    yield from _memory_lines(found)
    yield ""
    for name, read in _ROWS:
        before, after = read(found.before), read(found.after)
        if before or after:
            yield f"  {name:16}{escape(before):>30}{escape(after):>30}"


def _memory_lines(found: Diff) -> Iterator[str]:
    lines = [line for line in found.lines if line.difference]
    shown, rest = lines[:_SHOWN], [*lines[_SHOWN:], *(line for line in found.lines if not line.difference)]
    for line in shown:
        yield _row(line.name, line.before, line.after)
    if rest:
        name = f"{len(rest)} others" if len(shown) < len(lines) else f"{len(rest)} that stay"
        yield _row(name, sum(line.before for line in rest), sum(line.after for line in rest))
    yield _row("allocated", sum(line.before for line in found.lines), sum(line.after for line in found.lines))


def _row(name: str, before: int, after: int) -> str:
    difference = after - before
    sign = f"{'+' if difference > 0 else '-'}{gib(abs(difference))}" if difference else "same"
    sizes = (gib(size) if size else "-" for size in (before, after))
    return f"  {name:32.32}{next(sizes):>14}{next(sizes):>14}{sign:>14}"


def _needed(estimate: Estimate) -> str:
    return f"{gib_range(estimate.use.needed)} GiB" if estimate.use else ""


def _phase(estimate: Estimate) -> str:
    return estimate.memory.phase.label if estimate.memory else ""


def _verdict(estimate: Estimate) -> str:
    return _VERDICTS[estimate.verdict]


def _available(estimate: Estimate) -> str:
    return gib(estimate.available_bytes) if estimate.available_bytes is not None else ""


def _parameters(estimate: Estimate) -> str:
    return si(estimate.parameters.total)


def _tokens(estimate: Estimate) -> str:
    return f"{estimate.tokens.per_step:,} a step"


def _work(estimate: Estimate) -> str:
    return flops(estimate.flops.per_step)


def _step(estimate: Estimate) -> str:
    return duration_range(*estimate.step_seconds) if estimate.step_seconds else ""


def _total(estimate: Estimate) -> str:
    return duration_range(*estimate.total_seconds) if estimate.total_seconds else ""


_ROWS: tuple[tuple[str, Callable[[Estimate], str]], ...] = (
    ("peak in", _phase),
    ("needed", _needed),
    ("available", _available),
    ("verdict", _verdict),
    ("parameters", _parameters),
    ("tokens", _tokens),
    ("FLOPs a step", _work),
    ("time a step", _step),
    ("time in all", _total),
)
