"""What an estimate says of itself: its expected loss, and what it has learned from."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.estimation import Estimate


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
