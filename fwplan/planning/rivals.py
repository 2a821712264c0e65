"""What else the tokens of a run could train: a search on its own device, in the time that it may take itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.planning.request import Request
from fwplan.planning.search import search

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.suggestion import Suggestion


def rivals(estimate: Estimate) -> Suggestion | None:
    """Return what to train on a run's tokens, in no more time than the upper end of its own.

    Shape, batch, precision and mode are searched; architecture, context, vocabulary and text are the run's.
    None where it names no device or no horizon, where its speed is unknown, or where it trains on several devices.

    Raises:
        FwplanError: nothing fits the device, or its memory is unknown.
    """
    spec, tokens, seconds = estimate.spec, estimate.tokens.total, estimate.total_seconds
    if estimate.target is None or tokens is None or seconds is None or spec.train.parallel.world_size > 1:
        return None
    return search(
        Request(
            target=estimate.target,
            tokens=tokens,
            hours=seconds[1] / 3600,
            architecture=spec.model.architecture,
            context_length=spec.sequence_length,
            vocab_size=spec.model.vocab_size,
            data=spec.data,
        )
    )
