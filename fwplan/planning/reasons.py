"""Why the pick and not another, and what would change the answer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fwplan.estimators.quality import in_range
from fwplan.planning.choose import LEAST_TOKENS_PER_PARAMETER, LOSS_TOLERANCE
from fwplan.planning.decide import decide
from fwplan.planning.grid import fastest_that_fits
from fwplan.planning.horizon import seconds_allowed, tokens_allowed
from fwplan.planning.request import FASTEST_SLACK
from fwplan.units import GIB, si

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planning.choose import Best, Place
    from fwplan.planning.decide import Decision
    from fwplan.planning.grid import Grid
    from fwplan.planning.horizon import Horizon
    from fwplan.planning.request import Request
    from fwplan.planning.suggestion import Candidate


_ALIKE = 0.01  # figures closer than this are not told apart


_UNSEEN = 0.01  # of the tokens asked for; fewer are not missed


def what_ends(grid: Grid, found: Decision, pick: Candidate, request: Request) -> str:
    """Return what ends the pick before it has seen the tokens asked for; empty where it sees them, or none were.

    Args:
        grid: of any modes.
        found: the decision; "fastest" has its goal.
        pick: the run of its shape.
        request: what was asked for.
    """
    if not request.tokens or pick.tokens >= (1 - _UNSEEN) * request.tokens:
        return ""
    seen = f"{si(pick.tokens)} of the {si(request.tokens)} tokens"
    if pick.tokens < float(np.ravel(tokens_allowed(found.goal, grid.parameters))[found.shape]):
        bound = "the budget ends" if seconds_allowed(request, grid.watts) < request.hours * 3600 else "the hours end"
        return f"{bound} first, at {seen} (middle of the interval)"
    if request.objective == "fastest":
        return f"{seen} come within {FASTEST_SLACK} nats of the lowest expected loss"
    return f"the epochs end first, at {seen}" if request.objective != "cheapest" else ""


def why_not_bigger(grid: Grid, best: Best, shape: int, available: float) -> str:
    """Return what the best larger shape worth a look (at least a tenth larger) would cost or lose."""
    larger = best.parameters > best.parameters[shape]
    if not larger.any():
        return "it is the largest shape that is searched"
    fitting = larger & best.ok
    if not fitting.any():
        least = grid.needed.min(axis=(0, 2))[larger].min()
        if least <= available:
            return "not one step of a larger shape fits into the time and money"
        return (
            f"the next larger shape needs {least / GIB:.2f} GiB of {available / GIB:.2f} even with "
            f"every saving at micro-batch {grid.space.B.min()}"
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
    share = best.tokens[other] / best.tokens[shape]
    costs = [f"see {share:.0%} of these tokens"] if abs(share - 1) > _ALIKE else []
    if not best.seconds[shape]:
        costs.append("take a time that is unknown")
    elif abs((time := best.seconds[other] / best.seconds[shape]) - 1) > _ALIKE:
        costs.append(f"take {time:.2f} times as long")
    return f"{name} would {' and '.join(costs) or 'take as long'}; {_change(best, shape, other)}"


def _change(best: Best, shape: int, other: int) -> str:
    """Return what the law says of another shape; far below its data only whether that is better or worse."""
    ours, theirs = _Figures.of(best, shape), _Figures.of(best, other)
    change = theirs.loss - ours.loss
    if not (ours.judged and theirs.judged):
        return f"the law, fitted on far larger runs, expects a {'higher' if change > 0 else 'lower'} loss"
    if abs(change) < LOSS_TOLERANCE:
        return f"the law sees no difference (under {LOSS_TOLERANCE} nats)"
    return f"the law expects {change:+.3f} nats"


def why_not_larger_micro_batch(grid: Grid, horizon: Horizon, place: Place, available: float) -> str:
    """Return why the next larger micro-batch of the same shape and mode is not taken."""
    mode, shape, micro = place
    sizes = grid.space.B[0]
    if micro + 1 >= len(sizes):
        return f"micro-batch {sizes[micro]} is {'pinned' if len(sizes) == 1 else 'the largest searched'}"
    after = (mode, shape, micro + 1)
    need = float(grid.needed[after])
    if need > available:
        return f"micro-batch {sizes[micro + 1]} may need {need / GIB:.1f} of {available / GIB:.1f} GiB"
    if horizon.steps[0][after[1:]] < 1:
        return f"not one step of micro-batch {sizes[micro + 1]} fits into the time and money"
    if not horizon.possible[0][after[1:]]:
        return f"micro-batch {sizes[micro + 1]} would make the batch larger than advised"
    if not grid.timed:
        return f"micro-batch {sizes[micro + 1]} fits too; whether it would be faster is unknown"
    return f"micro-batch {sizes[micro + 1]} fits and does not pay: {_cost(grid, horizon, place, after)}"


def _cost(grid: Grid, horizon: Horizon, place: Place, after: Place) -> str:
    """Return what a run takes more than another: time a token or, where that is less, over the whole."""
    change = _per_token(grid, horizon, after) / _per_token(grid, horizon, place) - 1
    if abs(change) < 0.0005:
        return "as much time a token"
    but = f", but {_cost_in_all(horizon, place, after)}" if change < 0 else ""
    return f"{change:+.1%} time a token{but}"


def _cost_in_all(horizon: Horizon, place: Place, after: Place) -> str:
    """Return what a run that is faster a token loses over the whole: its batch rounds steps and tokens otherwise."""
    if horizon.loss[0][after[1:]] > horizon.loss[0][place[1:]] + LOSS_TOLERANCE / 4:
        return "the law expects a higher loss"
    return f"{horizon.seconds[0][after[1:]] / horizon.seconds[0][place[1:]] - 1:+.1%} time in all"


def _per_token(grid: Grid, horizon: Horizon, place: Place) -> float:
    accumulation, size = horizon.grad_accum_steps[0][place[1:]], grid.space.B[0, place[2]]
    step = accumulation * grid.micro_seconds[place] + grid.optimizer_seconds[place]
    return float(step / (accumulation * size))


def sensitivity(grid: Grid, fastest: Grid, found: Decision, request: Request, available: float) -> tuple[str, ...]:
    """Return what would better the answer if there were more of it, the most first.

    Args:
        grid: all modes.
        fastest: those that are the fastest and fit what is available.
        found: the decision.
        request: what was asked for.
        available: bytes of the device.
    """
    room = 1.5 * available
    more = {"half as much memory again": decide(fastest_that_fits(grid, room)[0], request, room)}
    for name, change in _more(fastest, request):
        more[name] = decide(fastest, replace(request, **change), available)
    said = [(gain, f"{name}: {text}") for name, other in more.items() for gain, text in _gain(found, other, request)]
    return tuple(text for _, text in sorted(said, reverse=True))


def _more(grid: Grid, request: Request) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what there could be more of beside memory; of a run that ends at its loss, nothing."""
    if request.objective in {"cheapest", "fastest"}:
        return
    if grid.timed:
        yield "twice the hours", {"hours": 2 * request.hours}
    if request.tokens:
        yield "twice the tokens", {"tokens": 2 * request.tokens}
    if request.budget is not None:
        yield "twice the money", {"budget": 2 * request.budget}
    if request.data and request.data.tokens:
        yield "twice the text", {"data": request.data.model_copy(update={"tokens": 2 * request.data.tokens})}


def _gain(found: Decision, other: Decision, request: Request) -> Iterator[tuple[float, str]]:
    """Yield by how much another decision is better in what the objective asks for, as a rank and in words."""
    if found.shape is None or other.shape is None:
        return
    ours, theirs = _Figures.of(found.best, found.shape), _Figures.of(other.best, other.shape)
    if request.objective == "largest":
        if theirs.parameters > (1 + _ALIKE) * ours.parameters:
            yield theirs.parameters / ours.parameters, f"{si(theirs.parameters)} parameters"
    elif request.objective in {"cheapest", "fastest"}:
        share = theirs.seconds / ours.seconds if ours.seconds else 1.0
        if share < 1 - _ALIKE:
            yield 1 / share, f"{share:.2f} of the time"
    elif ours.loss - theirs.loss >= LOSS_TOLERANCE and ours.judged and theirs.judged:
        yield ours.loss - theirs.loss, f"{theirs.loss - ours.loss:+.3f} nats"


class _Figures(NamedTuple):
    """A shape's best run."""

    parameters: float
    seconds: float
    tokens: float
    loss: float

    @classmethod
    def of(cls, best: Best, shape: int) -> _Figures:
        """Return a shape's."""
        return cls(*(float(getattr(best, name)[shape]) for name in cls._fields))

    @property
    def judged(self) -> bool:
        """Whether the law was fitted on runs like this."""
        return in_range(self.parameters, self.tokens)
