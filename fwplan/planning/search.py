"""The search itself: a request becomes a suggestion."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.estimators import recipe
from fwplan.estimators.levels import available_bytes
from fwplan.estimators.quality import FINEWEB_OFFSET, E
from fwplan.estimators.speed import middle, model_flops
from fwplan.learning.store import load_measurements
from fwplan.planning.choose import judged, pareto, reaches
from fwplan.planning.decide import decide, law_target
from fwplan.planning.front import Front
from fwplan.planning.grid import fastest_that_fits, grid_of
from fwplan.planning.horizon import seconds_allowed
from fwplan.planning.reasons import (
    sensitivity,
    what_ends,
    why_not_bigger,
    why_not_larger_micro_batch,
    why_not_smaller,
)
from fwplan.planning.space import space_of
from fwplan.planning.suggestion import Candidate, Suggestion
from fwplan.spec import defaults, spec_error
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.learning.measurement import Measurement
    from fwplan.planning.choose import Place
    from fwplan.planning.decide import Decision
    from fwplan.planning.grid import Grid
    from fwplan.planning.horizon import Horizon
    from fwplan.planning.request import Request
    from fwplan.spec import RunSpec

ALTERNATIVES = 4


def search(request: Request, measurements: Sequence[Measurement] | None = None) -> Suggestion:
    """Return what to train for a request.

    Raises:
        FwplanError: the device's memory is unknown, there are too few tokens, nothing fits it, or
            no run reaches what was asked for.
    """
    past = load_measurements() if measurements is None else measurements
    offered = available_bytes(request.target.device)
    if offered is None:
        raise FwplanError(
            f"the memory of {request.target.label} is unknown", hint="say it: --vram 12", exit_code=ExitCode.UNDECIDABLE
        )
    available = offered - request.margin_bytes
    if request.tokens is not None and request.tokens < request.context_length:
        raise FwplanError(
            f"{request.tokens} tokens are not even one sequence of {request.context_length}",
            hint="give more --tokens, or a shorter --context",
        )
    grid = grid_of(space_of(request), request.target, past)
    fastest, modes = fastest_that_fits(grid, available)
    found = decide(fastest, request, available)
    while True:
        shape, best, horizon = found.shape, found.best, found.horizon
        if shape is None:
            raise _nothing(found, grid, available)
        chosen = _candidate(grid, horizon, best.at(shape, modes), request, past)
        if chosen.fits(available):  # as the arrays say; the scalar estimate has the last word
            break
        found = found.without(shape)
    _refuse_schedule(chosen)
    others = [_candidate(grid, horizon, best.at(i, modes), request, past) for i in _others(found, shape)]
    return Suggestion(
        request=request,
        pick=chosen,
        alternatives=tuple(other for other in others if other.fits(available)),
        ends=what_ends(grid, found, chosen, request),
        why_not_bigger=why_not_bigger(grid, best, shape, available),
        why_not_smaller=why_not_smaller(best, shape),
        why_not_larger_micro_batch=why_not_larger_micro_batch(grid, horizon, best.at(shape, modes), available),
        sensitivity=sensitivity(grid, fastest, found, request, available),
        shapes=grid.space.shapes,
        runs=grid.space.runs,
        front=Front(request, fastest, best, shape, available),
    )


def _refuse_schedule(chosen: Candidate) -> None:
    """Raise where a pinned warm-up never ends."""
    train = chosen.spec.train
    if (train.schedule.warmup_steps or 0) >= (train.max_steps or 0) > 1:
        raise FwplanError(
            f"a warm-up of {train.schedule.warmup_steps:,} steps never ends: the run has {train.max_steps:,}",
            where="--set",
            hint="a fiftieth of the run is customary",
        )


def _nothing(found: Decision, grid: Grid, available: float) -> FwplanError:
    request, best = found.goal, found.best
    label = request.target.label
    if best.ok.any() and request.objective == "cheapest":
        reached = float(best.loss[best.ok].min()) + FINEWEB_OFFSET[1]
        floor = E + FINEWEB_OFFSET[1]
        more = "give more --hours or --tokens" if (request.loss or 0) > floor else f"the law ends at {floor:.2f}"
        return FwplanError(
            f"no run on {label} is expected to reach {request.loss:g} nats within these budgets",
            hint=f"the lowest is {reached:.2f}; {more}",
        )
    if (grid.needed <= available).any():
        if request.epochs is not None:
            return FwplanError("these --epochs hold not one step", hint="give more --epochs, or more text")
        return FwplanError("not one step fits into the time and money", hint="give more --hours, or more --budget")
    pinned = " with these pins" if request.pins else ""
    return FwplanError(
        f"not even the smallest model fits {label}{pinned}: {gib(max(0, available))} available",
        hint=_less(request),
        exit_code=ExitCode.DOES_NOT_FIT,
    )


def _less(request: Request) -> str:
    if request.pins:
        return "pin less with --set"
    return "keep less free with --margin" if request.margin_bytes else "a shorter --context needs less"


def _others(found: Decision, shape: int) -> list[int]:
    """Return up to four others: the best larger one, then of the Pareto set smaller ones by time and by memory."""
    best, goal = found.best, found.goal
    worth = reaches(best, law_target(goal)) if goal.objective == "cheapest" else judged(best)
    front = pareto(best) & worth
    others: list[int] = []

    def add(mask: Any) -> None:
        ranked = np.where(mask, best.loss, np.inf)
        ranked[[shape, *others]] = np.inf
        if np.isfinite(ranked).any():
            others.append(int(ranked.argmin()))

    add(worth & (best.parameters > 1.2 * best.parameters[shape]))
    for share in (0.6, 0.3, 0.1):
        add(front & (best.seconds <= share * best.seconds[shape]))
    add(front & (best.needed <= 0.7 * best.needed[shape]))
    return others[:ALTERNATIVES]


def _candidate(grid: Grid, horizon: Horizon, place: Place, request: Request, past: Sequence[Measurement]) -> Candidate:
    """Return a run of the grid with its recipe, estimated; cut until the middle of its time is within the budget."""
    most = seconds_allowed(request, grid.watts)
    spec = grid.space.spec(*place)
    steps = int(horizon.steps[0][place[1:]])
    accumulation = int(horizon.grad_accum_steps[0][place[1:]])
    spec = spec.but(grad_accum_steps=accumulation)
    seconds = float(accumulation * grid.micro_seconds[place] + grid.optimizer_seconds[place])
    while True:
        chosen = estimate(with_recipe(spec, steps, seconds, request), request.target, measurements=past)
        if chosen.total_seconds is None or middle(chosen.total_seconds) <= most * (1 + 1e-9) or steps == 1:
            return Candidate(chosen)
        steps = max(1, min(steps - 1, int(steps * most / middle(chosen.total_seconds))))


def with_recipe(spec: RunSpec, steps: int, step_seconds: float, request: Request) -> RunSpec:
    """Return the spec with its horizon, learning rate, schedule and intervals; what is pinned stays.

    Args:
        spec: the run.
        steps: of it.
        step_seconds: that one takes; NaN: unknown.
        request: its pins.
    """
    pins = request.pins
    spec = spec.but(max_steps=steps)
    train, accumulation = spec.train, spec.train.grad_accum_steps
    rate = pins.get("learning_rate", recipe.learning_rate(model_flops(spec).per_step * steps, spec.tokens_per_step))
    evaluated = defaults.eval_micro_batch_size(train)
    batches = pins.get("eval_batches", recipe.eval_batches(steps, accumulation, evaluated * spec.sequence_length))
    interval = pins.get(
        "eval_interval", recipe.eval_interval(steps, accumulation, batches * evaluated / train.micro_batch_size)
    )
    timed = not math.isnan(step_seconds)
    fields = {
        "learning_rate": rate,
        "min_lr": float(f"{defaults.min_lr(rate):.1e}"),
        "warmup_steps": defaults.warmup_steps(steps),
        "eval_batches": batches,
        "eval_interval": interval,
        "checkpoint_interval": recipe.checkpoint_interval(steps, step_seconds) if timed else interval,
    }
    try:
        return spec.but(**{name: value for name, value in fields.items() if name not in pins})
    except ValidationError as error:
        raise spec_error(error, "--set", hint="a tenth of the learning rate is customary for min_lr") from None
