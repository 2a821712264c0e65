"""What `run` says at its end: predicted beside measured, and what was learned."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.units import duration, duration_range, gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.api.run import RunReport
    from fwplan.learning.measurement import Measurement
    from fwplan.train.loop import TrainResult


def run_lines(report: RunReport) -> Iterator[str]:
    """Yield what a run was predicted to take beside what it took, what was learned, and the next command."""
    result, measured = report.result, report.measurement
    if result is not None:
        yield from _loss_lines(result)
    if measured is None:
        yield "nothing was measured: that takes at least 3 steps that are still to do"
        return
    yield ""
    yield f"[bold]{'':14}{'predicted':>22}{'measured':>16}[/]"
    for name, predicted, took, inside, note in _compared(report, measured):
        yield f"  {name:12}{predicted:>22}{took:>16}  {_mark(inside)} {note}".rstrip()
    few, all_of_them = (spec.train.grad_accum_steps for spec in (measured.spec, report.before.spec))
    if few < all_of_them:
        yield f"  steps of {few} micro-batches: more take no more memory, and each as long"
    yield from _learned_lines(report, "a step like this" if few == all_of_them else "a whole step")
    yield ""
    plan = escape(shlex.quote(str(report.plan_path)))
    yield (
        f"  fwplan run {plan}"
        if result is None
        else f"  fwplan explain {plan}     the next estimate, with what was learned"
    )


def _loss_lines(result: TrainResult) -> Iterator[str]:
    def fall(first: float | None, last: float | None) -> str:
        return f"{first:.3f} -> {last:.3f}" if first is not None and last is not None else "not measured"

    yield f"[bold]{result.steps_done:,} steps done[/] in {escape(str(result.run_dir))}"
    yield f"  validation loss  {fall(result.first_val_loss, result.last_val_loss)}"
    yield f"  training loss    {fall(result.first_loss, result.last_loss)}  (single steps)"


_Row = tuple[str, str, str, bool | None, str]


def _compared(report: RunReport, measured: Measurement) -> Iterator[_Row]:
    """Yield (what, predicted, measured, inside the interval or unknown, note)."""
    predicted, peak = report.predicted, measured.peak_allocated_bytes
    low, high = predicted.allocated_interval
    error = predicted.allocated_bytes / peak - 1
    yield "live tensors", f"{gib(low)} - {gib(high)}", gib(peak), low <= peak <= high, f"point {error:+.2%}"
    levels = (
        ("reserved", predicted.reserved_bytes, measured.peak_reserved_bytes),
        ("device used", predicted.device_used_bytes, measured.device_used_bytes),
        ("resident", predicted.device_used_bytes, measured.rss_bytes),
    )
    for name, interval, took in levels:
        if interval is not None and took is not None:
            ends = f"{gib(interval[0])} - {gib(interval[1])}"
            yield name, ends, gib(took), interval[0] <= took <= interval[1], ""
    seconds, speed = duration(measured.step_seconds), f"{measured.tokens_per_second:,.0f} tokens/s"
    if predicted.step_seconds is None:
        yield "step time", "unknown", seconds, None, speed
    else:
        first, last = predicted.step_seconds
        yield "step time", duration_range(first, last), seconds, first <= measured.step_seconds <= last, speed


def _mark(inside: bool | None) -> str:
    return "?" if inside is None else "[green]✓[/]" if inside else "[red]✗ outside,[/]"


def _learned_lines(report: RunReport, which: str) -> Iterator[str]:
    after, before = report.after, report.before.step_seconds
    if after is None or after.target is None or after.step_seconds is None or after.calibration is None:
        return
    was = duration_range(*before) if before else "unknown"
    yield f"  learned: for {escape(after.target.label)} {which} takes {duration_range(*after.step_seconds)}"
    yield f"  (was {was}), and memory in this mode is {after.calibration.allocated_ratio or 1:.4f} of the formula's,"
    yield f"  within {after.calibration.allocated_error:.1%}; the next suggest and explain use it"
