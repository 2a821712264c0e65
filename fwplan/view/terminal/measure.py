"""What `measure` says at its end: the errors, mode by mode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.learning.request import MeasureReport
    from fwplan.learning.summary import ModeRow


def measure_lines(report: MeasureReport) -> Iterator[str]:
    """Yield a campaign's table, mode by mode, and where its results are."""
    yield f"[bold]Peak allocated, predicted against measured[/] on {escape(report.device)}"
    yield f"[bold]  {'mode':26}{'n':>4}{'median':>9}{'worst':>9}{'OOM':>5}{'failed':>8}[/]"
    yield from (_mode_line(row) for row in report.rows)
    yield "[dim]  a spec counts in each of its modes; errors are predicted / measured - 1[/]"
    yield ""
    known = f", {report.known} of them from before" if report.known else ""
    yield f"  results: {escape(str(report.output))}{known}"
    if report.left:
        yield f"  {report.left} left for lack of time; to go on:"
        yield f"  {escape(report.command)}"


def _mode_line(row: ModeRow) -> str:
    middle = "-" if row.median_error is None else f"{row.median_error:.2%}"
    worst = "-" if row.worst_error is None else f"{row.worst_error:+.2%}"
    return f"  {row.mode:26}{row.measured:>4}{middle:>9}{worst:>9}{row.ooms or '-':>5}{row.failures or '-':>8}"
