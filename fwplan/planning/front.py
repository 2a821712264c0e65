"""Every shape's best run in plain figures: what a picture of a search shows."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from fwplan.estimators.quality import ExpectedLoss, effective_tokens, in_range, on_fineweb, vocabulary_in_range
from fwplan.estimators.speed import middle
from fwplan.planning.choose import judged, pareto
from fwplan.planning.horizon import seconds_allowed

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.planning.choose import Best
    from fwplan.planning.grid import Grid
    from fwplan.planning.request import Request


@dataclass(frozen=True)
class Point:
    """A run as a mark in a picture.

    Attributes:
        n_layer: blocks.
        n_embd: width.
        parameters: in all, positions included.
        tokens: that it trains on.
        loss: to expect, in nats; None: far below what the scaling laws were fitted on.
        seconds: geometric middle of its time, evaluations included; None: unknown.
        needed_bytes: upper end of what it needs of the device.
        headroom_bytes: what it leaves of the device then.
        on_front: no other shape's best run is better in loss, time or memory and as good in the others.
        picked: what the objective picks.
    """

    n_layer: int
    n_embd: int
    parameters: int
    tokens: int
    loss: ExpectedLoss | None
    seconds: float | None
    needed_bytes: int
    headroom_bytes: int
    on_front: bool = False
    picked: bool = False


@dataclass(frozen=True, eq=False)
class Front:
    """What a search found of every shape, as arrays; its points are made when somebody asks for them.

    Attributes:
        request: what was searched for.
        grid: the fastest mode that fits at each shape and micro-batch.
        best: each shape's best run of it.
        picked: the shape that the objective picks.
        available: bytes of the device.
    """

    request: Request
    grid: Grid
    best: Best
    picked: int
    available: float

    @property
    def most_seconds(self) -> float:
        """The longest that a run may take."""
        return seconds_allowed(self.request, self.grid.watts)

    @cached_property
    def points(self) -> tuple[Point, ...]:
        """The best run of every shape that the laws can judge, and of the one picked."""
        shown, front = judged(self.best), pareto(self.best)
        shown[self.picked] = True
        return tuple(self._point(int(shape), on_front=bool(front[shape])) for shape in np.flatnonzero(shown))

    def _point(self, shape: int, *, on_front: bool) -> Point:
        best, space = self.best, self.grid.space
        return Point(
            n_layer=space.models[shape].n_layer,
            n_embd=space.models[shape].n_embd,
            parameters=int(best.parameters[shape]),
            tokens=round(float(best.tokens[shape])),
            loss=self._loss(shape),
            seconds=float(best.seconds[shape]) if self.grid.timed else None,
            needed_bytes=round(best.needed[shape]),
            headroom_bytes=round(self.available - best.needed[shape]),
            on_front=on_front,
            picked=shape == self.picked,
        )

    def _loss(self, shape: int) -> ExpectedLoss | None:
        """Return the loss to expect of a shape's best run; None where the laws do not reach."""
        data = self.request.data
        fresh = effective_tokens(float(self.best.tokens[shape]), data.tokens if data else None)
        known = in_range(float(self.grid.parameters[shape, 0]), fresh)
        if not known or not vocabulary_in_range(self.grid.space.modes[0].model.vocab_size):
            return None
        return on_fineweb(float(self.best.loss[shape]))


def point_of(estimate: Estimate) -> Point | None:
    """Return a run of its own as a mark; None where its memory or its horizon is unknown."""
    if estimate.use is None or estimate.available_bytes is None or estimate.tokens.total is None:
        return None
    model, needed = estimate.spec.model, round(estimate.use.needed.high)
    return Point(
        n_layer=model.n_layer,
        n_embd=model.n_embd,
        parameters=estimate.parameters.total,
        tokens=estimate.tokens.total,
        loss=estimate.loss,
        seconds=middle(estimate.total_seconds) if estimate.total_seconds else None,
        needed_bytes=needed,
        headroom_bytes=estimate.available_bytes - needed,
    )
