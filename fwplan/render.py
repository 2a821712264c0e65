"""Estimates, suggestions and measurements as text for a terminal of 80 columns, in rich's markup.

Each function returns lines in rich's markup; `show` prints them, without colour where NO_COLOR or a pipe says so.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from fwplan.estimators.sizes import sizes
from fwplan.planner import MOST_EPOCHS
from fwplan.recipe import REASONS
from fwplan.units import GIB, duration, duration_range, flops, gib, si

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwplan.commands import Explanation, RunReport
    from fwplan.configs import LoadedConfig
    from fwplan.errors import FwplanError
    from fwplan.estimation import Estimate
    from fwplan.estimators.line import Line
    from fwplan.estimators.overhead import Range
    from fwplan.estimators.phases import Phase
    from fwplan.fixes import Fix
    from fwplan.measurement import Measurement
    from fwplan.measuring.request import MeasureReport
    from fwplan.measuring.summary import ModeRow
    from fwplan.planner import Candidate, Suggestion
    from fwplan.train.loop import TrainResult

WIDTH = 80
_BAR = 10
_SHOWN_LINES = 8
_FORMULA = 17
_SPARKS = "▁▂▃▄▅▆▇█"


class _Terminal(Console):
    """A console that a reader may leave (`| head`): what is left is not written, and the exit code still counts."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def show(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Print lines of markup; never wrapped or re-coloured by rich, plain where NO_COLOR is set or nobody looks."""
    console = _Terminal(
        stderr=to_stderr,
        highlight=False,
        soft_wrap=True,
        emoji=False,
        width=WIDTH,
        force_terminal=False if os.environ.get("NO_COLOR") else None,
    )
    for line in lines:
        console.print(line)


def error_lines(error: FwplanError) -> Iterator[str]:
    """Yield an error as what is wrong, where, and what to do next."""
    yield f"[bold red]error:[/] {escape(error.message)}"
    if error.where:
        yield f"  [blue]-->[/] {escape(error.where)}"
    yield f"[bold]hint:[/] {escape(error.hint)}"


# ---------------------------------------------------------------- explain


def explain_lines(explanation: Explanation) -> Iterator[str]:
    """Yield everything `explain` says: the verdict, the peak, the bill, and what would change it."""
    estimate, loaded = explanation.estimate, explanation.loaded
    yield from _verdict_lines(estimate, loaded, explanation.fitting_gb)
    yield ""
    yield from _memory_lines(estimate)
    yield ""
    yield from _bill_lines(estimate, pretrained=loaded.pretrained)
    if explanation.fixes:
        yield ""
        yield from _fix_lines(explanation)
    yield from _note_lines(estimate, loaded)


def _verdict_lines(estimate: Estimate, loaded: LoadedConfig, fitting: Sequence[int]) -> Iterator[str]:
    train, model = estimate.spec.train, estimate.spec.model
    parameters = estimate.parameters
    count = f"{parameters.total:,}; {parameters.non_position:,} without positions"
    yield f"[bold]{si(parameters.total)} parameters[/] ({count})"
    shape = f"{_count(model.n_layer, 'layer')}, {_count(model.n_head, 'head')}, width {model.n_embd}"
    batch = f"micro-batch {train.micro_batch_size} x {estimate.spec.sequence_length}"
    yield f"{shape}, vocabulary {model.vocab_size}; {batch},"
    yield (
        f"accumulation {train.grad_accum_steps}, {train.dtype}, {'compiled' if train.compile else 'eager'}, "
        f"{train.loss} loss, checkpointing {train.checkpointing}"
    )
    yield ""
    if estimate.verdict == "undecidable":
        yield f"[bold yellow]undecidable:[/] {escape(estimate.undecidable or '')}"
    elif estimate.verdict == "no_device":
        yield "[bold]No device named.[/] " + _fitting_text(fitting)
    else:
        yield from _fit_lines(estimate, loaded)


def _fitting_text(sizes: Sequence[int]) -> str:
    if not sizes:
        return "It fits no common card: 80 GB is too small."
    return f"It fits, with margin, cards of {', '.join(str(size) for size in sizes)} GB."


def _fit_lines(estimate: Estimate, loaded: LoadedConfig) -> Iterator[str]:
    assert estimate.use is not None  # noqa: S101  # a verdict on fit has a use behind it
    label = escape(estimate.target.label) if estimate.target else ""
    used, available = estimate.use.device_used, estimate.available_bytes or 0
    need = f"needs {_range(used)} GiB, {available / GIB:.2f} GiB available"
    if estimate.verdict == "fits":
        yield f"[bold green]fits[/] on {label}: {need}"
        return
    if estimate.verdict == "fits_at_point":
        yield f"[bold yellow]may fit[/] on {label}: {need}"
        yield "         the middle of the estimate fits, its upper end does not; a run decides"
    else:
        short = f"{max(0, used.low - available) / GIB:.1f}-{(used.high - available) / GIB:.1f} GiB"
        yield f"[bold red]error:[/] will not fit on {label}"
        yield f"       {need}: short by {short}"
    yield from _blame_lines(estimate, loaded)


def _blame_lines(estimate: Estimate, loaded: LoadedConfig) -> Iterator[str]:
    """Quote the line of the config that sets the micro-batch, where the logits are the largest thing at the peak."""
    line = loaded.lines.get("train.micro_batch_size")
    spec = estimate.spec
    if line is None or not any(
        item.shape and item.shape[-1] == spec.model.vocab_size for item in estimate.at_peak()[:1]
    ):
        return
    text, gutter = loaded.line_text(line).rstrip(), " " * len(str(line))
    carets = "^" * max(1, len(text.split("#")[0].rstrip()))
    logits = spec.tokens_per_micro_batch * spec.model.vocab_size * 4
    shape = f"({spec.train.micro_batch_size}, {spec.sequence_length}, {spec.model.vocab_size})"
    yield f"  [blue]-->[/] {escape(str(loaded.path))}:{line}"
    yield f" {gutter} [blue]|[/]"
    yield f" {line} [blue]|[/] {escape(text)}"
    yield f" {gutter} [blue]|[/] [red]{carets}[/] one logits tensor is {shape}: {gib(logits)} in fp32"


def _memory_lines(estimate: Estimate) -> Iterator[str]:
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
        rows.append(("reserved", _range(use.reserved), "GiB, by the caching allocator", _learned(estimate)))
    what = "with the CUDA context" if use.reserved else "resident, with Python and torch"
    rows.append(("device used", _range(use.device_used), f"GiB, {what}", _learned(estimate)))
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


def _bill_lines(estimate: Estimate, *, pretrained: bool) -> Iterator[str]:
    tokens, work = estimate.tokens, estimate.flops
    total = f", {si(tokens.total)} in {estimate.spec.steps:,} steps" if tokens.total and estimate.spec.steps else ""
    yield f"  tokens      {tokens.per_step:,} a step{total}"
    if tokens.epochs is not None:
        yield f"  epochs      {tokens.epochs:.2f} of {si(tokens.per_epoch or 0)} unique tokens"
    run = f", {flops(work.total)} in all" if work.total else ""
    yield f"  FLOPs       {flops(work.per_token)} a token, {flops(work.per_step)} a step{run}"
    if estimate.step_seconds is None:
        yield "  time        unknown: no device, or its speed is unknown"
    else:
        run = f", {duration_range(*estimate.total_seconds)} in all" if estimate.total_seconds else ""
        yield f"  time        {duration_range(*estimate.step_seconds)} a step{run} [dim]{estimate.time_status}[/]"
    if estimate.energy_kwh:
        low, high = estimate.energy_kwh
        yield f"  energy      {_plain(low)}-{_plain(high)} kWh at the card's full board power"
    yield f"  loss        {'unknown: it starts from trained weights' if pretrained else loss_text(estimate)}"


def _calibration_note(estimate: Estimate) -> list[str]:
    if estimate.calibration is None or estimate.target is None:
        return []
    runs = estimate.calibration.runs
    return [f"uses what {runs} measured run{'s' if runs > 1 else ''} on {estimate.target.label} showed"]


def loss_text(estimate: Estimate) -> str:
    """Return the expected loss with its interval, or why there is none."""
    if estimate.tokens.total is None:
        return "unknown: no horizon (max_steps or max_tokens)"
    if estimate.loss is None:
        return "unknown: too few parameters or tokens for the scaling laws"
    return f"{estimate.loss.low:.2f}-{estimate.loss.high:.2f} nats on FineWeb-like text, by scaling law"


def _fix_lines(explanation: Explanation) -> Iterator[str]:
    helping = [fix for fix in explanation.fixes if fix.helps]
    yield f"[bold]What would change it[/]{'device used, GiB':>45}  same maths?"
    for number, fix in enumerate(helping, 1):
        yield _fix_line(f"{'[green]✓[/]' if fix.fits else '[yellow]~[/]'} {number}", fix)
    for fix in explanation.fixes:
        if not fix.helps:
            yield _fix_line("[red]✗[/]  ", fix)
            yield from (f"      [dim]{escape(line)}[/]" for line in textwrap.wrap(fix.why, WIDTH - 6))
    yield ""
    yield from _next_lines(explanation, helping)


def _next_lines(explanation: Explanation, helping: Sequence[Fix]) -> Iterator[str]:
    """Yield the command to type next: train what fits, else apply the first change that makes it fit."""
    loaded, fix = explanation.loaded, ""
    if explanation.estimate.verdict in {"fits", "no_device"} or not helping:
        if loaded.kind in {"plan", "spec"}:
            yield f"  fwplan run {escape(shlex.quote(str(loaded.path)))}"
            return
    else:
        first = next((number for number, change in enumerate(helping, 1) if change.fits), None)
        if first is None:
            yield "  None of these is enough alone: apply one, then explain the plan again."
        fix = f" --fix {first or 1}"
    command, _, overrides = explanation.command.partition(" -- ")
    rest = f" -- {overrides}" if overrides else ""
    yield f"  {escape(command)}{fix} -o plan.json{escape(rest)}"


def _fix_line(mark: str, fix: Fix) -> str:
    size, same = _range(fix.estimate.use.device_used) if fix.estimate.use else "", "yes" if fix.same_maths else "no"
    return f"  {mark} {escape(fix.change):44} {size:>13}   {same}"


def _note_lines(estimate: Estimate, loaded: LoadedConfig) -> Iterator[str]:
    notes = [*loaded.notes, *(estimate.target.notes if estimate.target else ())]
    if loaded.ignored:
        notes.append(f"not understood, not counted: {', '.join(loaded.ignored)}")
    if loaded.eval_only:
        notes.append("eval_only: this run never trains; what is shown is what training it would take")
    notes += _calibration_note(estimate)
    if notes:
        yield ""
    yield from _notes(notes)


def _notes(notes: Iterable[str]) -> Iterator[str]:
    for note in notes:
        for line in textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="      "):
            yield f"[dim]{escape(line)}[/]"


# ---------------------------------------------------------------- suggest


def suggest_lines(suggestion: Suggestion, plan_path: str) -> Iterator[str]:
    """Yield everything `suggest` says: the request, the pick among its rivals, and why."""
    request, pick = suggestion.request, suggestion.pick
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    timed = pick.estimate.total_seconds is not None
    bound = f"{request.hours:g} h at most" if timed else "time unbounded: its speed is unknown"
    yield f"{goal}, {bound}, on {escape(request.target.label)}, context {request.context_length}"
    yield f"[dim]objective: {suggestion.objective}; {suggestion.searched} shapes[/]"
    yield ""
    yield "[bold]   params L/H/width    batch  loss  ckpt  GiB used tokens      nats time[/]"
    for mark, candidate in zip("ABCD", (pick, *suggestion.alternatives), strict=False):
        yield _candidate_line(mark, candidate, pick)
    yield ""
    yield from _pick_lines(suggestion)
    yield ""
    yield from _memory_lines(pick.estimate)
    yield from _notes([*request.target.notes, *_calibration_note(pick.estimate)])
    yield ""
    yield f"  fwplan explain {escape(shlex.quote(plan_path))}     why these figures"
    yield f"  fwplan run {escape(shlex.quote(plan_path))}         train it"


def _candidate_line(mark: str, candidate: Candidate, pick: Candidate) -> str:
    model, train, estimate = candidate.spec.model, candidate.spec.train, candidate.estimate
    time = duration_range(*estimate.total_seconds) if estimate.total_seconds else "unknown"
    used = _range(estimate.use.device_used) if estimate.use else ""
    shape, batch = (
        f"{model.n_layer}/{model.n_head}/{model.n_embd}",
        f"{train.micro_batch_size}x{train.grad_accum_steps}",
    )
    loss, checkpointed = train.loss.removesuffix("ed"), "-" if train.checkpointing == "none" else "yes"
    nats = f"{estimate.loss.low:.2f}-{estimate.loss.high:.2f}" if estimate.loss else "unknown"
    row = (
        f"{mark} {si(estimate.parameters.total):>7} {shape:10} {batch:>6} {loss:5} {checkpointed:4} {used:>9} "
        f"{si(candidate.tokens):>6} {nats:>9} {time}"
    )
    return f"[bold]{row}[/]" if candidate is pick else row


def _pick_lines(suggestion: Suggestion) -> Iterator[str]:
    pick, wanted = suggestion.pick, suggestion.request.tokens
    train, tokens = pick.spec.train, pick.estimate.tokens
    yield f"A: {train.max_steps:,} steps of {pick.spec.tokens_per_step:,} tokens;"
    yield f"   {pick.tokens_per_parameter:.3g} tokens a parameter, where about 20 are compute-optimal"
    if wanted and pick.tokens < 0.99 * wanted:
        yield f"   the hours end first, at {si(pick.tokens)} of the {si(wanted)} tokens (middle of the interval)"
    if tokens.epochs:
        worn = f"; beyond {MOST_EPOCHS} repeats add nothing" if tokens.epochs > MOST_EPOCHS else ""
        yield f"   {tokens.epochs:.2f} epochs of {si(tokens.per_epoch or 0)} unique tokens{worn}"
    yield f"   expected loss {loss_text(pick.estimate)}"
    if pick.estimate.loss is None:
        yield "   so it is chosen by the shape of laws that were fitted on far larger runs"
    yield f"   learning rate {train.learning_rate:g}: {REASONS['learning_rate']}"
    yield from textwrap.wrap(f"Why not bigger? {suggestion.why_not_bigger}.", WIDTH, subsequent_indent="   ")


# ---------------------------------------------------------------- numbers


def _range(interval: Range) -> str:
    low, high = interval.low / GIB, interval.high / GIB
    return f"{low:.2f}-{high:.2f}" if high < 9.95 else f"{low:.1f}-{high:.1f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _plain(value: float) -> str:
    """Return three digits without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _learned(estimate: Estimate) -> str:
    known = estimate.calibration is not None and estimate.calibration.reserved_ratio is not None
    return "calibrated" if known else "prior"


# ---------------------------------------------------------------- run


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
    yield from _learned_lines(report)
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


def _learned_lines(report: RunReport) -> Iterator[str]:
    after, before = report.after, report.predicted.step_seconds
    if after is None or after.target is None or after.step_seconds is None or after.calibration is None:
        return
    was = duration_range(*before) if before else "unknown"
    yield f"  learned: for {escape(after.target.label)} a step like this takes {duration_range(*after.step_seconds)}"
    yield f"  (was {was}), and memory in this mode is {after.calibration.allocated_ratio or 1:.4f} of the formula's,"
    yield f"  within {after.calibration.allocated_error:.1%}; the next suggest and explain use it"


# ---------------------------------------------------------------- measure


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
