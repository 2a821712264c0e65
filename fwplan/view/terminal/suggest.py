"""What `suggest` says: the pick, its rivals, and why."""

from __future__ import annotations

import shlex
import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH, note_lines
from fwplan.estimators import recipe
from fwplan.estimators.quality import MOST_EPOCHS
from fwplan.estimators.speed import model_flops
from fwplan.spec import defaults
from fwplan.units import GIB, duration_range, gib, si
from fwplan.view.figures import counted, energy, gib_range
from fwplan.view.notes import calibration_note, loss_text, reason_texts, wish_text
from fwplan.view.terminal.memory import memory_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planning.cards import CardTable
    from fwplan.planning.suggestion import Candidate, Suggestion

_HEAD = "  params L/H/width    batch  loss  ckpt needs GiB tokens      nats time"


def suggest_lines(suggestion: Suggestion, plan_path: str) -> Iterator[str]:
    """Yield everything `suggest` says: the pick among its rivals, what it needs, why, and what comes next."""
    pick = suggestion.pick
    yield from _wrapped(escape(wish_text(suggestion)))
    yield f"[dim]objective: {suggestion.objective}[/]"
    yield ""
    yield f"[bold] {_HEAD}[/]"
    for mark, candidate in zip("ABCDEFG", (pick, *suggestion.alternatives), strict=False):
        yield _candidate_line(mark, candidate, pick)
    yield from _wrapped(
        f"  of {suggestion.shapes} shapes in {suggestion.runs:,} runs: the pick, the best larger one, and what none "
        "beats in loss, time and memory at once"
    )
    yield ""
    yield from _pick_lines(suggestion)
    for question, answer in reason_texts(suggestion):
        yield from _wrapped(f"{question} {answer}.")
    yield ""
    yield from memory_lines(pick.estimate)
    yield from note_lines([*pick.estimate.notes, *calibration_note(pick.estimate)])
    yield ""
    yield f"  fwplan explain {escape(shlex.quote(plan_path))}     why these figures"
    yield f"  fwplan run {escape(shlex.quote(plan_path))}         train it"


def _candidate_line(mark: str, candidate: Candidate, pick: Candidate) -> str:
    row = f"{mark} {_row(candidate)}"
    return f"[bold]{row}[/]" if candidate is pick else row


def _row(candidate: Candidate) -> str:
    model, train, estimate = candidate.spec.model, candidate.spec.train, candidate.estimate
    time = duration_range(*estimate.total_seconds) if estimate.total_seconds else "unknown"
    used = gib_range(estimate.use.needed) if estimate.use else ""
    shape, batch = (
        f"{model.n_layer}/{model.n_head}/{model.n_embd}",
        f"{train.micro_batch_size}x{train.grad_accum_steps}",
    )
    every = {1: "all", 2: "2nd", 3: "3rd"}.get(train.checkpoint_every, f"{train.checkpoint_every}th")
    checkpointed = "-" if train.checkpointing == "none" else every
    nats = f"{estimate.loss.low:.2f}-{estimate.loss.high:.2f}" if estimate.loss else "unknown"
    loss = train.loss.name.removesuffix("ed")
    return (
        f"{si(estimate.parameters.total):>7} {shape:10} {batch:>6} {loss:5} {checkpointed:4} "
        f"{used:>9} {si(candidate.tokens):>6} {nats:>9} {time}"
    )


def _pick_lines(suggestion: Suggestion) -> Iterator[str]:
    pick = suggestion.pick
    train, tokens = pick.spec.train, pick.estimate.tokens
    yield f"A: {train.max_steps:,} steps of {pick.spec.tokens_per_step:,} tokens;"
    yield f"   {pick.tokens_per_parameter:.3g} tokens a parameter, where about 20 are compute-optimal"
    if suggestion.ends:
        yield from _wrapped(f"   {suggestion.ends}")
    if tokens.epochs:
        worn = f"; beyond {MOST_EPOCHS} repeats add nothing" if tokens.epochs > MOST_EPOCHS else ""
        yield f"   {tokens.epochs:.2f} epochs of {si(tokens.per_epoch or 0)} unique tokens{worn}"
    yield f"   expected loss {loss_text(pick.estimate)}"
    if pick.estimate.loss is None:
        yield "   so it is chosen by the shape of laws that were fitted elsewhere"
    yield from _need_lines(suggestion)
    yield from _recipe_lines(suggestion)


def _need_lines(suggestion: Suggestion) -> Iterator[str]:
    """Yield speed, energy, money and disk."""
    needs, kwh = suggestion.needs, suggestion.pick.estimate.energy_kwh
    if needs.tokens_per_second:
        low, high = (si(value) for value in needs.tokens_per_second)
        used = f"; {energy(*kwh)} at full board power" if kwh else ""
        yield f"   {low}-{high} tokens a second{used}"
    if needs.cost:
        yield f"   costs {needs.cost[0]:,.2f}-{needs.cost[1]:,.2f} at the prices given"
    yield f"   disk: {gib(needs.token_bytes)} of tokens, {gib(needs.checkpoint_bytes)} for two checkpoints"


def _recipe_lines(suggestion: Suggestion) -> Iterator[str]:
    pick = suggestion.pick
    train, reasons = pick.spec.train, suggestion.plan.reasons
    advised = recipe.advised_tokens_per_step(model_flops(pick.spec).total or 1)
    yield f"   batch: DeepSeek LLM's law says {si(advised)} tokens, custom 524 k"
    yield from _wrapped(f"   learning rate {train.optimizer.learning_rate:g}: {reasons['learning_rate']}")
    yield (
        f"   to {train.schedule.min_lr:g}, {counted(train.schedule.warmup_steps or 0, 'step')} of warm-up, "
        f"{train.optimizer.told}"
    )
    evaluated = train.eval_batches * defaults.eval_micro_batch_size(train)
    yield (
        f"   evaluation {_every(train.eval_interval)} on {si(evaluated * pick.spec.sequence_length)} tokens, "
        f"checkpoint {_every(train.checkpoint_interval)}"
    )
    yield "   plan.json holds every reason"


def _every(interval: int | None) -> str:
    return "every step" if interval == 1 else f"every {interval or 0:,} steps"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, subsequent_indent="   ", break_on_hyphens=False)


def card_lines(table: CardTable) -> Iterator[str]:
    """Yield the table of cards, a row each."""
    request = table.suggestions[0].request
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    yield f"{goal}, {request.hours:g} h at most, context {request.context_length}"
    yield f"[dim]objective: {request.goal}[/]"
    yield ""
    yield f"[bold] GB{_HEAD[1:]}[/]"
    for found in table.suggestions:
        size = found.request.target.nominal_gib or 0
        yield f"{size:3g} {_row(found.pick)}"
    yield ""
    for found in table.suggestions:
        available = (found.pick.estimate.available_bytes or 0) / GIB
        target = found.request.target
        speeds = f": {target.speeds}" if target.speeds else ""
        yield from _wrapped(
            f"{target.nominal_gib:g} GB{speeds}. {available:.2f} GiB to use; {found.why_not_larger_micro_batch}."
        )
