"""What the objective picks from a grid: horizon, each shape's best run, and the one of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from fwplan.estimators.quality import FINEWEB_OFFSET
from fwplan.planning.choose import Best, best_of_each_shape, pick
from fwplan.planning.horizon import Horizon, horizon_of
from fwplan.planning.request import FASTEST_SLACK

if TYPE_CHECKING:
    from fwplan.planning.grid import Grid
    from fwplan.planning.request import Request


@dataclass(frozen=True, eq=False)
class Decision:
    """What was looked for and what is best of it.

    Attributes:
        goal: the request; "fastest" as "cheapest" to the loss that it may have.
        horizon: of every run.
        best: each shape's best run.
        shape: the one picked; None where none will do.
    """

    goal: Request
    horizon: Horizon
    best: Best
    shape: int | None

    def without(self, shape: int) -> Decision:
        """Return what is picked if this shape is not to be had."""
        ok = self.best.ok.copy()
        ok[shape] = False
        best = replace(self.best, ok=ok)
        return replace(self, best=best, shape=pick(best, self.goal.objective, target=law_target(self.goal)))

    @property
    def loss(self) -> float:
        """The law's loss of what is picked; inf where nothing is."""
        return float(self.best.loss[self.shape]) if self.shape is not None else np.inf


def decide(grid: Grid, request: Request, available: float) -> Decision:
    """Return what the objective picks from a grid of one mode.

    Raises:
        FwplanError: neither tokens nor data nor time bound the run, or the money cannot be reckoned.
    """
    goal = request
    if request.objective == "fastest":
        lowest = decide(grid, replace(request, objective="loss"), available)
        if lowest.shape is None:
            return lowest
        goal = replace(request, objective="cheapest", loss=lowest.loss + FINEWEB_OFFSET[1] + FASTEST_SLACK)
    horizon = horizon_of(grid, goal)
    best = best_of_each_shape(grid, horizon, available)
    return Decision(goal, horizon, best, pick(best, goal.objective, target=law_target(goal)))


def law_target(goal: Request) -> float | None:
    """Return the law's loss that "cheapest" has to reach."""
    return goal.loss - FINEWEB_OFFSET[1] if goal.loss is not None else None
