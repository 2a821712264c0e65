"""What an estimate says of itself: its expected loss, and what it has learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.quality import vocabulary_in_range
from fwplan.units import si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.configs import LoadedConfig
    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.suggestion import Suggestion

_NAMED = 3  # settings that a verdict names before it only counts them
_LONGEST = 40  # characters of a setting's name beside a verdict


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
    if estimate.loss is None and not vocabulary_in_range(estimate.spec.model.vocab_size):
        return "unknown: the laws' offset is known for GPT-2's vocabulary alone"
    if estimate.loss is None:
        return "unknown: too few parameters or tokens for the scaling laws"
    return f"{estimate.loss.low:.2f}-{estimate.loss.high:.2f} nats on FineWeb-like text, by scaling law"


def wish_text(suggestion: Suggestion) -> str:
    """Return what was searched for."""
    request = suggestion.request
    goal = f"{si(request.tokens)} tokens" if request.tokens else "as many tokens as the time allows"
    if request.loss is not None:
        most = f", {si(request.tokens)} tokens at most" if request.tokens else ""
        goal = f"to an expected loss of {request.loss:g} nats{most}"
    timed = suggestion.pick.estimate.total_seconds is not None
    bound = f"{request.hours:g} h at most" if timed else "time unbounded: its speed is unknown"
    kind = "" if request.architecture == "gpt2" else f", architecture {request.architecture}"
    return f"{goal}, {bound}, on {request.target.label}, context {request.context_length}{kind}"


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


def confidence_text(loaded: LoadedConfig) -> str:
    """Return why a verdict is less sure than its interval says, for beside it; empty where nothing lowers it."""
    names = [place.partition(" (line ")[0][:_LONGEST] for place in loaded.uncounted]
    if not names:
        return ""
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"confidence lowered: {', '.join(names[:_NAMED])}{more} {'is' if len(names) == 1 else 'are'} not counted"


def config_notes(loaded: LoadedConfig) -> list[str]:
    """Return what a config holds that the estimate leaves out, as notes."""
    notes = []
    if loaded.uncounted:
        notes.append(f"not counted, but may change memory: {', '.join(loaded.uncounted)}")
    if loaded.ignored:
        notes.append(f"not understood, not counted: {', '.join(loaded.ignored)}")
    if loaded.eval_only:
        notes.append("eval_only: judged as the evaluation that it is; --eval_only=False would train it")
    return notes
