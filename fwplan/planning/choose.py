"""Which run of a grid is best: what fits, what the objective says, and what else is worth a look."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from fwplan.planning.grid import Grid
    from fwplan.planning.horizon import Horizon
    from fwplan.planning.request import Objective

# Expected losses closer than this cannot be told apart by the law; then the faster run wins.
LOSS_TOLERANCE = 0.002
# The laws were fitted on runs of more tokens than parameters (compute-optimal: about 20 to 1). Below this ratio they
# still promise a gain from every parameter, which nobody has seen; such a model is not proposed if another one is.
LEAST_TOKENS_PER_PARAMETER = 2
LARGEST_TOKENS_PER_PARAMETER = 10  # "largest" goes no lower: half of what is compute-optimal (Besiroglu et al. 2024)
Place = tuple[int, int, int]  # mode, shape, micro-batch


@dataclass(frozen=True)
class Best:
    """For each shape its best run: arrays over the shapes. Where ok is false, none fits and has a horizon."""

    micro: Any  # which micro-batch
    loss: Any
    lowest: Any  # of all its runs; the best one is the fastest that can hardly be told from it
    seconds: Any
    needed: Any
    tokens: Any
    parameters: Any
    ok: Any

    def at(self, shape: int, modes: Any) -> Place:
        """Return the place of a shape's best run; modes: the fastest at each shape and micro-batch."""
        micro = int(self.micro[shape])
        return int(modes[shape, micro]), shape, micro


def best_of_each_shape(grid: Grid, horizon: Horizon, available: float) -> Best:
    """Return every shape's best run of a grid of one mode: the lowest loss, then the shortest time."""
    fits = ((grid.needed <= available) & horizon.possible)[0]
    seconds = np.nan_to_num(horizon.seconds[0], nan=0.0)
    loss = np.where(fits, horizon.loss[0], np.inf)
    close = fits & (loss <= loss.min(axis=1, keepdims=True) + LOSS_TOLERANCE / 4)
    # without a speed the largest micro-batch of the plainest mode stands in for the fastest
    slowness = seconds if grid.timed else 1e6 * grid.cost[0] - grid.space.B
    micro = np.where(close, slowness, np.inf).argmin(axis=1)
    rows = np.arange(len(micro))
    return Best(
        micro=micro,
        loss=loss[rows, micro],
        lowest=loss.min(axis=1),
        seconds=seconds[rows, micro],
        needed=grid.needed[0][rows, micro],
        tokens=horizon.tokens[0][rows, micro],
        parameters=grid.total_parameters[:, 0],
        ok=close.any(axis=1),
    )


def pick(best: Best, objective: Objective, *, target: float | None = None) -> int | None:
    """Return the shape that the objective picks; None where no shape will do.

    Args:
        best: every shape's best run.
        objective: what is best; "fastest" is "cheapest" to the loss that it may have, see decide.py.
        target: "cheapest": the law's loss that has to be reached.
    """
    if not best.ok.any():
        return None
    if objective == "cheapest":
        reached = reaches(best, target)
        return _least(np.where(reached, best.seconds, np.inf), best.loss) if reached.any() else None
    ratio = best.tokens / best.parameters
    ok = best.ok & (ratio >= LEAST_TOKENS_PER_PARAMETER)
    if not ok.any():
        return _least(np.where(best.ok, -ratio, np.inf), best.seconds)
    if objective == "largest":
        enough = ok & (ratio >= min(LARGEST_TOKENS_PER_PARAMETER, float(ratio[ok].max())))
        return _least(np.where(enough, -best.parameters, np.inf), best.loss)
    return _least(np.where(ok & (best.loss <= best.lowest[ok].min() + LOSS_TOLERANCE), best.seconds, np.inf), best.loss)


def reaches(best: Best, target: float | None) -> Any:
    """Return the shapes that reach the law's loss `target`; all that fit, where there is none: a mask."""
    return judged(best) & (best.loss <= (target if target is not None else np.inf) + 1e-9)


def _least(first: Any, second: Any) -> int:
    return int(np.lexsort((second, first))[0])


def judged(best: Best) -> Any:
    """Return the shapes that see enough tokens for the laws to judge; all that fit, where none does: a mask."""
    enough = best.ok & (best.tokens >= LEAST_TOKENS_PER_PARAMETER * best.parameters)
    return enough if enough.any() else best.ok.copy()


def pareto(best: Best) -> Any:
    """Return the shapes that no other beats in loss, time and memory at once: a mask."""
    keep = judged(best)
    columns = (best.loss, best.seconds, best.needed)
    no_worse = np.logical_and.reduce([c[:, None] <= c[None, :] for c in columns])
    better = np.logical_or.reduce([c[:, None] < c[None, :] for c in columns])
    return keep & ~(no_worse & better & keep[:, None]).any(axis=0)
