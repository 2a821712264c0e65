"""The page of a suggestion: what could be trained, the candidates, why, what it takes, and the pick's memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.units import duration_range, gib, si
from fwplan.view.figures import gib_range
from fwplan.view.html import memory, run
from fwplan.view.html.document import document, notes_section, write_page
from fwplan.view.html.front import search_section
from fwplan.view.html.markup import Html, size_range, table, tag
from fwplan.view.notes import calibration_note, loss_text, reason_texts, wish_text

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwplan.planning.suggestion import Candidate, Suggestion


def write_suggestion(suggestion: Suggestion, path: Path, plan_path: Path) -> None:
    """Write a suggestion as one HTML file beside its plan.

    Raises:
        FwplanError: the file is not to be called .html, or cannot be written.
    """
    write_page(suggestion_html(suggestion, plan_path), path)


def suggestion_html(suggestion: Suggestion, plan_path: Path) -> str:
    """Return the page of a suggestion, whose plan was written to plan_path."""
    title = f"{si(suggestion.pick.estimate.parameters.total)} parameters on {suggestion.request.target.label}"
    return document(title, _header(suggestion, title, plan_path), _sections(suggestion), f"fwplan run {plan_path}")


def _header(suggestion: Suggestion, title: str, plan_path: Path) -> Html:
    estimate = suggestion.pick.estimate
    time = f", {duration_range(*estimate.total_seconds)}" if estimate.total_seconds else ""
    need = f"{gib_range(estimate.use.needed)} of {gib(estimate.available_bytes or 0)}" if estimate.use else "unknown"
    return tag(
        "header",
        tag("p", str(plan_path), class_="file"),
        tag("h1", tag("span", "✓", class_="mark-sign", aria_hidden="true"), " ", title),
        tag("p", f"needs {need}{time}; expected loss {loss_text(estimate)}", class_="need"),
        tag("p", f"{wish_text(suggestion)}; objective: {suggestion.objective}"),
        class_="fits",
    )


def _sections(suggestion: Suggestion) -> Iterator[Html]:
    estimate, plan = suggestion.pick.estimate, suggestion.plan
    yield search_section(suggestion)
    yield _candidates(suggestion)
    yield _why(suggestion)
    yield run.bill_section(estimate, pretrained=False, more=_needs(suggestion))
    yield memory.levels_section(estimate)
    yield memory.step_section(estimate)
    yield memory.peak_section(estimate)
    yield run.recipe_section(estimate.spec, {}, plan.reasons)
    yield memory.lines_section(estimate)
    yield notes_section([*estimate.notes, *calibration_note(estimate)])


def _candidates(suggestion: Suggestion) -> Html:
    found = zip("ABCDEFG", (suggestion.pick, *suggestion.alternatives), strict=False)
    heads = (
        "",
        "parameters\t",
        "shape",
        "batch\t",
        "loss",
        "recomputed",
        "GiB needed\t",
        "tokens\t",
        "nats\t",
        "time\t",
    )
    caption = (
        f"A is the pick; of {suggestion.shapes} shapes in {suggestion.runs:,} runs, what none of them beats in loss, "
        "time and memory"
    )
    rows = [_row(letter, candidate) for letter, candidate in found]
    return tag("section", tag("h2", "The candidates"), table(caption, heads, rows))


def _row(letter: str, candidate: Candidate) -> tuple[str, ...]:
    model, train, estimate = candidate.spec.model, candidate.spec.train, candidate.estimate
    every = {1: "every block", 2: "every 2nd block"}.get(
        train.checkpoint_every, f"every {train.checkpoint_every}th block"
    )
    cells = (
        si(estimate.parameters.total),
        f"{model.n_layer}/{model.n_head}/{model.n_embd}",
        f"{train.micro_batch_size} x {train.grad_accum_steps}",
        train.loss.name,
        "-" if train.checkpointing == "none" else every,
        size_range(*estimate.use.needed.ends) if estimate.use else "unknown",
        si(candidate.tokens),
        f"{estimate.loss.low:.2f}-{estimate.loss.high:.2f}" if estimate.loss else "unknown",
        duration_range(*estimate.total_seconds) if estimate.total_seconds else "unknown",
    )
    return (tag("b", letter), *(tag("span", cell, class_="short") for cell in cells))


def _why(suggestion: Suggestion) -> Html:
    said = [(question, f"{answer}.") for question, answer in reason_texts(suggestion)]
    whole = table(
        "The nearest alternatives, and what more of anything would do", ("question", "answer"), said, kind="narrow"
    )
    return tag("section", tag("h2", "Why this one"), whole)


def _needs(suggestion: Suggestion) -> Iterator[tuple[str, str]]:
    needs = suggestion.needs
    if needs.tokens_per_second is not None:
        low, high = (si(value) for value in needs.tokens_per_second)
        yield "tokens a second", f"{low}-{high}"
    if needs.cost is not None:
        yield "cost", f"{needs.cost[0]:,.2f}-{needs.cost[1]:,.2f} at the prices given"
    yield "disk", f"{gib(needs.token_bytes)} of tokens, {gib(needs.checkpoint_bytes)} for two checkpoints"
