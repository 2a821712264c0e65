"""What `suggest` says: the request, the pick among its rivals, and why."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.planner import MOST_EPOCHS
from fwplan.recipe import REASONS
from fwplan.render.figures import gib_range
from fwplan.render.memory import memory_lines
from fwplan.render.notes import calibration_note, loss_text
from fwplan.render.terminal import WIDTH, note_lines
from fwplan.units import duration_range, si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planner import Candidate, Suggestion


def suggest_lines(suggestion: Suggestion, plan_path: str) -> Iterator[str]:
    """Yield everything `suggest` says: the request, the pick among its rivals, and why."""
    request, pick = suggestion.request, suggestion.pick
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    timed = pick.estimate.total_seconds is not None
    bound = f"{request.hours:g} h at most" if timed else "time unbounded: its speed is unknown"
    yield f"{goal}, {bound}, on {escape(request.target.label)}, context {request.context_length}"
    yield f"[dim]objective: {suggestion.objective}; {suggestion.searched} shapes[/]"
    yield ""
    yield "[bold]   params L/H/width    batch  loss  ckpt needs GiB tokens      nats time[/]"
    for mark, candidate in zip("ABCD", (pick, *suggestion.alternatives), strict=False):
        yield _candidate_line(mark, candidate, pick)
    yield ""
    yield from _pick_lines(suggestion)
    yield ""
    yield from memory_lines(pick.estimate)
    yield from note_lines([*request.target.notes, *calibration_note(pick.estimate)])
    yield ""
    yield f"  fwplan explain {escape(shlex.quote(plan_path))}     why these figures"
    yield f"  fwplan run {escape(shlex.quote(plan_path))}         train it"


def _candidate_line(mark: str, candidate: Candidate, pick: Candidate) -> str:
    model, train, estimate = candidate.spec.model, candidate.spec.train, candidate.estimate
    time = duration_range(*estimate.total_seconds) if estimate.total_seconds else "unknown"
    used = gib_range(estimate.use.needed) if estimate.use else ""
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
