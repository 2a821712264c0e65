"""Results by mode: how many, how far off the prediction was, and what could not be measured."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from fwplan.learning.modes import modes

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.learning.result import Result


@dataclass(frozen=True)
class ModeRow:
    """One row of the table. Errors are predicted over measured peak, less one; median of their sizes, worst signed."""

    mode: str
    measured: int
    median_error: float | None  # None: nothing measured, or a mode that is not modelled
    worst_error: float | None
    ooms: int
    failures: int  # timeouts included


def summarise(results: Iterable[Result]) -> list[ModeRow]:
    """Return a row for all results, one for each mode in order of appearance, and one for evaluations' own peaks."""
    results = list(results)
    by_mode: dict[str, list[Result]] = {"all": results}
    for result in results:
        for mode in modes(result.spec):
            by_mode.setdefault(mode, []).append(result)
    rows = [_row(mode, group) for mode, group in by_mode.items()]
    evaluated = [error for result in results if (error := result.evaluation_error_ratio) is not None]
    if evaluated:
        rows.append(ModeRow("an evaluation's own peak", len(evaluated), *_errors(evaluated), 0, 0))
    return rows


def _row(mode: str, group: list[Result]) -> ModeRow:
    errors = [error for result in group if (error := result.error_ratio) is not None]
    return ModeRow(
        mode=mode,
        measured=sum(result.status == "measured" for result in group),
        median_error=_errors(errors)[0],
        worst_error=_errors(errors)[1],
        ooms=sum(result.oom for result in group),
        failures=sum(result.status in ("failed", "timeout") for result in group),
    )


def _errors(errors: list[float]) -> tuple[float | None, float | None]:
    """Return the median size and the worst, with its sign."""
    return (median(map(abs, errors)), max(errors, key=abs)) if errors else (None, None)
