"""Why the pick and not another, and what would change the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.estimators.quality import in_range
from fwplan.planning.choose import LEAST_TOKENS_PER_PARAMETER, LOSS_TOLERANCE, best_of_each_shape
from fwplan.planning.grid import fastest_that_fits
from fwplan.planning.horizon import horizon_of
from fwplan.units import GIB, si

if TYPE_CHECKING:
    from fwplan.planning.choose import Best, Place
    from fwplan.planning.grid import Grid
    from fwplan.planning.horizon import Horizon
    from fwplan.planning.request import Request


def why_not_bigger(grid: Grid, best: Best, shape: int, available: float) -> str:
    """Return what the best larger shape worth a look (at least a tenth larger) would cost or lose."""
    larger = best.parameters > best.parameters[shape]
    if not larger.any():
        return "it is the largest shape that is searched"
    fitting = larger & best.ok
    if not fitting.any():
        least = grid.needed.min(axis=(0, 2))[larger].min()
        return (
            f"the next larger shape needs {least / GIB:.2f} GiB of {available / GIB:.2f} even with "
            "every saving at micro-batch 1"
        )
    worth_a_look = fitting & (best.parameters > 1.1 * best.parameters[shape])
    others = worth_a_look if worth_a_look.any() else fitting
    return _compared(best, shape, int(np.where(others, best.loss, np.inf).argmin()))


def why_not_smaller(best: Best, shape: int) -> str:
    """Return what the best smaller shape worth a look (at least a tenth smaller) would save and lose."""
    smaller = best.ok & (best.parameters < 0.9 * best.parameters[shape])
    if not smaller.any():
        return "it is the smallest shape that fits and is searched"
    return _compared(best, shape, int(np.where(smaller, best.loss, np.inf).argmin()))


def _compared(best: Best, shape: int, other: int) -> str:
    name = f"{si(best.parameters[other])} parameters"
    ratio = best.tokens[other] / best.parameters[other]
    if ratio < LEAST_TOKENS_PER_PARAMETER <= best.tokens[shape] / best.parameters[shape]:
        return f"{name} would get {ratio:.2g} tokens each, too few for the scaling laws to judge"
    change = _change(best, shape, other)
    share = best.tokens[other] / best.tokens[shape]
    if abs(share - 1) > 0.01:
        return f"{name} would see {share:.0%} of these tokens; the law expects {change}"
    time = best.seconds[other] / best.seconds[shape] if best.seconds[shape] else 1.0
    return f"{name} would take {time:.2f} times as long for {change}"


def _change(best: Best, shape: int, other: int) -> str:
    """Return what the law says of another shape; far below its data only whether that is better or worse."""
    change = float(best.loss[other] - best.loss[shape])
    if all(in_range(best.parameters[i], best.tokens[i]) for i in (shape, other)):
        return (
            f"{change:+.3f} nats" if abs(change) >= LOSS_TOLERANCE else f"no difference (under {LOSS_TOLERANCE} nats)"
        )
    return f"a {'higher' if change > 0 else 'lower'} loss, but was fitted on far larger runs"


def why_not_larger_micro_batch(grid: Grid, horizon: Horizon, place: Place, available: float) -> str:
    """Return why the next larger micro-batch of the same shape and mode is not taken."""
    mode, shape, micro = place
    sizes = grid.space.B[0]
    if len(sizes) == 1:
        return f"micro-batch {sizes[micro]} is pinned"
    if micro + 1 >= len(sizes):
        return f"micro-batch {sizes[micro]} is the largest searched"
    after = (mode, shape, micro + 1)
    need = float(grid.needed[after])
    if need > available:
        return f"micro-batch {sizes[micro + 1]} may need {need / GIB:.1f} of {available / GIB:.1f} GiB"
    if not horizon.possible[0][after[1:]]:
        return f"micro-batch {sizes[micro + 1]} would make the batch larger than advised"
    if not grid.timed:
        return f"micro-batch {sizes[micro]} is the largest of the plainest mode"
    change = _per_token(grid, horizon, after) / _per_token(grid, horizon, place) - 1
    cost = f"{change:+.1%} time a token" if abs(change) >= 0.0005 else "as much time a token"
    return f"micro-batch {sizes[micro + 1]} fits and does not pay: {cost}"


def _per_token(grid: Grid, horizon: Horizon, place: Place) -> float:
    accumulation, size = horizon.grad_accum_steps[0][place[1:]], grid.space.B[0, place[2]]
    step = accumulation * grid.micro_seconds[place] + grid.optimizer_seconds[place]
    return float(step / (accumulation * size))


def sensitivity(grid: Grid, fastest: Grid, request: Request, available: float, loss: float) -> tuple[str, ...]:
    """Return what would lower the expected loss if there were more of it, the most first.

    fastest is the grid of the fastest modes that fit what is available.
    """
    changes: list[tuple[float, str]] = []
    more: dict[str, dict[str, Any]] = {"twice the hours": {"hours": 2 * request.hours}}
    if request.tokens:
        more["twice the tokens"] = {"tokens": 2 * request.tokens}
    if request.budget is not None:
        more["twice the money"] = {"budget": 2 * request.budget}
    if request.data and request.data.tokens:
        more["twice the text"] = {"data": request.data.model_copy(update={"tokens": 2 * request.data.tokens})}
    for name, change in more.items() if request.objective != "cheapest" else ():
        changes.append((_lowest(fastest, replace(request, **change), available), name))
    if request.objective != "cheapest":
        changes.append(
            (
                _lowest(fastest_that_fits(grid, 1.5 * available)[0], request, 1.5 * available),
                "half as much memory again",
            )
        )
    return tuple(f"{name}: {low - loss:+.3f} nats" for low, name in sorted(changes) if np.isfinite(low))


def _lowest(grid: Grid, request: Request, available: float) -> float:
    best = best_of_each_shape(grid, horizon_of(grid, request), available)
    ok = best.ok & (best.tokens >= LEAST_TOKENS_PER_PARAMETER * best.parameters)
    return float(best.loss[ok].min()) if ok.any() else float("inf")
