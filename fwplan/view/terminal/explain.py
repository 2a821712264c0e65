"""What `explain` says: the verdict, the peak, the bill, and what would change it."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH, note_lines
from fwplan.units import GIB, duration_range, flops, gib, si
from fwplan.view.figures import counted, energy, gib_range, shape_text
from fwplan.view.notes import calibration_note, confidence_text, config_notes, loss_text
from fwplan.view.terminal.fixes import command_lines, slower_text
from fwplan.view.terminal.memory import memory_lines
from fwplan.view.terminal.trace import trace_lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.configs import LoadedConfig
    from fwplan.estimation.estimate import Estimate
    from fwplan.explaining.audit import Claim
    from fwplan.explaining.explanation import Explanation
    from fwplan.planning.fixes import Fix


def explain_lines(explanation: Explanation) -> Iterator[str]:
    """Yield everything `explain` says: the verdict, the peak, the bill, and what would change it."""
    estimate, loaded = explanation.estimate, explanation.loaded
    yield from _verdict_lines(estimate, loaded, explanation.fitting_gb)
    yield ""
    replayed = explanation.traced is not None and explanation.traced.use is not None
    yield from memory_lines(estimate, replayed=replayed)
    yield ""
    if explanation.traced is not None:
        yield from trace_lines(explanation.traced)
        yield ""
    yield from _evaluation_lines(estimate) if loaded.eval_only else _bill_lines(estimate, pretrained=loaded.pretrained)
    if explanation.claims:
        yield ""
        yield from _claim_lines(explanation.claims)
    if explanation.fixes:
        yield ""
        yield from _fix_lines(explanation)
    yield from _closing_lines(estimate, loaded)


def _verdict_lines(estimate: Estimate, loaded: LoadedConfig, fitting: Sequence[int]) -> Iterator[str]:
    train, model = estimate.spec.train, estimate.spec.model
    parameters = estimate.parameters
    count = f"{parameters.total:,}; {parameters.non_position:,} without positions"
    yield f"[bold]{si(parameters.total)} parameters[/] ({count})"
    shape = f"{shape_text(model)}, vocabulary {model.vocab_size}"
    batch = f"micro-batch {train.micro_batch_size} x {estimate.spec.sequence_length}"
    yield from textwrap.wrap(f"{shape}; {batch},", WIDTH, break_on_hyphens=False)
    dtype = "float32 in TF32" if train.tf32 and train.dtype == "float32" else train.dtype
    mode = f"{dtype}, {'compiled' if train.compile else 'eager'}"
    if loaded.eval_only:
        yield f"evaluates only, never trains, {mode}"
    else:
        recipe = f"{mode}, {train.loss.name} loss, checkpointing {train.checkpointing}"
        yield f"accumulation {train.grad_accum_steps}, {recipe}"
    yield from (f"[yellow]{escape(line)}[/]" for line in textwrap.wrap(loaded.assumed, WIDTH, break_on_hyphens=False))
    yield ""
    if estimate.verdict == "undecidable":
        yield f"[bold yellow]undecidable:[/] {escape(estimate.undecidable or '')}"
    elif estimate.verdict == "no_device":
        yield "[bold]No device named.[/] " + _fitting_text(fitting)
    else:
        yield from _fit_lines(estimate, loaded)
        return
    yield from _confidence_lines(loaded)


def _confidence_lines(loaded: LoadedConfig) -> Iterator[str]:
    text = confidence_text(loaded)
    yield from (f"       [yellow]{escape(line)}[/]" for line in textwrap.wrap(text, WIDTH - 7))


def _fitting_text(sizes: Sequence[int]) -> str:
    if not sizes:
        return "It fits no common card: 80 GB is too small."
    return f"It fits, with margin, cards of {', '.join(str(size) for size in sizes)} GB."


def _fit_lines(estimate: Estimate, loaded: LoadedConfig) -> Iterator[str]:
    assert estimate.use is not None  # noqa: S101  # a verdict on fit has a use behind it
    label = escape(estimate.target.label) if estimate.target else ""
    used, available = estimate.use.needed, estimate.available_bytes or 0
    need = f"needs {gib_range(used)} GiB, {available / GIB:.2f} GiB available"
    if estimate.verdict == "fits":
        yield f"[bold green]fits[/] on {label}: {need}"
        yield from _confidence_lines(loaded)
        return
    if estimate.verdict == "fits_at_point":
        yield f"[bold yellow]may fit[/] on {label}: {need}"
        yield "         the middle of the estimate fits, its upper end does not; a run decides"
    else:
        short = f"{max(0, used.low - available) / GIB:.1f}-{(used.high - available) / GIB:.1f} GiB"
        yield f"[bold red]error:[/] will not fit on {label}"
        yield from textwrap.wrap(
            f"{need}: short by {short}",
            WIDTH,
            initial_indent=" " * 7,
            subsequent_indent=" " * 7,
            break_on_hyphens=False,
        )
    yield from _confidence_lines(loaded)
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


def _evaluation_lines(estimate: Estimate) -> Iterator[str]:
    tokens, work, batches = estimate.tokens, estimate.flops, estimate.spec.train.eval_batches
    yield f"  tokens      {tokens.per_step:,} a batch, {si(tokens.total or 0)} in {batches:,} batches of each split"
    yield f"  FLOPs       {flops(work.per_token)} a token, {flops(work.total or 0)} in all"


def _bill_lines(estimate: Estimate, *, pretrained: bool) -> Iterator[str]:
    tokens, work = estimate.tokens, estimate.flops
    steps = estimate.spec.steps
    total = f", {si(tokens.total)} in {counted(steps, 'step')}" if tokens.total and steps else ""
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
        yield f"  energy      {energy(*estimate.energy_kwh)} at the card's full board power"
    yield f"  loss        {'unknown: it starts from trained weights' if pretrained else loss_text(estimate)}"


def _claim_lines(claims: Sequence[Claim]) -> Iterator[str]:
    yield "[bold]What its comments claim[/]"
    for claim in claims:
        mark = "[green]✓[/]" if claim.right else "[red]✗[/]"
        text = f"{f'line {claim.line}':9} {claim.topic:13} {claim.claimed:13}  true: {claim.truth}"
        first, *rest = textwrap.wrap(text, WIDTH - 4, subsequent_indent=" " * 38) if len(text) > WIDTH - 4 else [text]
        yield f"  {mark} {escape(first)}"
        yield from (f"    {escape(line)}" for line in rest)


def _fix_lines(explanation: Explanation) -> Iterator[str]:
    helping = [fix for fix in explanation.fixes if fix.helps]
    yield f"[bold]What would change it[/]{'GiB needed':>38}    time  same maths?"
    for number, fix in enumerate(helping, 1):
        mark = "[green]✓[/]" if fix.fits else "[yellow]~[/]"
        yield _fix_line(f"{mark} {number if explanation.numbered else ' '}", fix)
        if fix.popular and not fix.fits:
            yield from _why_lines(fix)
    for fix in explanation.fixes:
        if not fix.helps:
            yield _fix_line("[red]✗[/]  ", fix)
            yield from _why_lines(fix)
    yield ""
    yield from _next_lines(explanation, helping)


def _why_lines(fix: Fix) -> Iterator[str]:
    yield from (f"      [dim]{escape(line)}[/]" for line in textwrap.wrap(fix.why, WIDTH - 6))


def _next_lines(explanation: Explanation, helping: Sequence[Fix]) -> Iterator[str]:
    """Yield the command to type next: train what fits, else apply the first change that makes it fit."""
    if not explanation.numbered:
        if helping:
            yield "  To apply one of these too, write this run first: its plan numbers them."
        yield from command_lines(explanation.to_save())
    elif explanation.estimate.verdict in {"fits", "no_device"} or not helping:
        if explanation.runnable is not None:
            yield f"  fwplan run {escape(shlex.quote(str(explanation.runnable)))}"
        else:
            yield from command_lines(explanation.to_save())
    else:
        first = next((number for number, change in enumerate(helping, 1) if change.fits), None)
        if first is None:
            yield "  None of these is enough alone: apply one, then explain the plan again."
        yield from command_lines(explanation.to_save(first or 1))


def _fix_line(mark: str, fix: Fix) -> str:
    size, same = gib_range(fix.estimate.use.needed) if fix.estimate.use else "", "yes" if fix.same_maths else "no"
    gap = " " * max(1, 51 - len(fix.change) - len(size))  # of two columns, 38 and 13 wide
    return f"  {mark} {escape(fix.change)}{gap}{size} {slower_text(fix):>7}  {same}"


def _closing_lines(estimate: Estimate, loaded: LoadedConfig) -> Iterator[str]:
    notes = [*loaded.notes, *estimate.notes]
    notes += config_notes(loaded)
    notes += calibration_note(estimate)
    if notes:
        yield ""
    yield from note_lines(notes)
