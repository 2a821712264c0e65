"""What an estimate says of itself: its expected loss, and what it has learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.units import si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimation import Estimate
    from fwplan.planning.suggestion import Suggestion


def calibration_note(estimate: Estimate) -> list[str]:
    """Return the note that measured runs were used, or nothing where none was."""
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


def wish_text(suggestion: Suggestion) -> str:
    """Return what was searched for."""
    request = suggestion.request
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    timed = suggestion.pick.estimate.total_seconds is not None
    bound = f"{request.hours:g} h at most" if timed else "time unbounded: its speed is unknown"
    return f"{goal}, {bound}, on {request.target.label}, context {request.context_length}"


def reason_texts(suggestion: Suggestion) -> Iterator[tuple[str, str]]:
    """Yield why the pick and nothing else: question and answer, where there is one."""
    for question, answer in (
        ("Why not bigger?", suggestion.why_not_bigger),
        ("Why not smaller?", suggestion.why_not_smaller),
        ("Why not a larger micro-batch?", suggestion.why_not_larger_micro_batch),
        ("What would change it most?", "; ".join(suggestion.sensitivity)),
    ):
        if answer:
            yield question, answer
