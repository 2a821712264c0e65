"""The search itself: a request becomes a suggestion."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan import recipe
from fwplan.budget import available_bytes
from fwplan.calibration import load_measurements
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation import estimate
from fwplan.estimators.quality import FINEWEB_OFFSET
from fwplan.estimators.speed import middle, model_flops
from fwplan.planning.choose import Best, best_of_each_shape, pareto, pick
from fwplan.planning.front import Front
from fwplan.planning.grid import fastest_that_fits, grid_of
from fwplan.planning.horizon import horizon_of, seconds_allowed
from fwplan.planning.reasons import sensitivity, why_not_bigger, why_not_larger_micro_batch, why_not_smaller
from fwplan.planning.space import space_of
from fwplan.planning.suggestion import Candidate, Suggestion
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.measurement import Measurement
    from fwplan.planning.choose import Place
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
    horizon = horizon_of(fastest, request)
    best = best_of_each_shape(fastest, horizon, available)
    target = request.loss - FINEWEB_OFFSET[1] if request.loss is not None else None
    while True:
        shape = pick(best, request.objective, target=target)
        if shape is None:
            raise _nothing(request, grid, best, available)
        chosen = _candidate(grid, horizon, best.at(shape, modes), request, past)
        if chosen.fits(available):  # as the arrays say; the scalar estimate has the last word
            break
        best = _without(best, shape)
    others = [_candidate(grid, horizon, best.at(i, modes), request, past) for i in _others(best, shape)]
    return Suggestion(
        request=request,
        pick=chosen,
        alternatives=tuple(other for other in others if other.fits(available)),
        why_not_bigger=why_not_bigger(grid, best, shape, available),
        why_not_smaller=why_not_smaller(best, shape),
        why_not_larger_micro_batch=why_not_larger_micro_batch(grid, horizon, best.at(shape, modes), available),
        sensitivity=sensitivity(grid, fastest, request, available, float(best.loss[shape])),
        shapes=grid.space.shapes,
        runs=grid.space.runs,
        front=Front(request, fastest, best, shape, available),
    )


def _without(best: Best, shape: int) -> Best:
    ok = best.ok.copy()
    ok[shape] = False
    return replace(best, ok=ok)


def _nothing(request: Request, grid: Grid, best: Best, available: float) -> FwplanError:
    label = request.target.label
    if best.ok.any() and request.objective == "cheapest":
        reached = float(best.loss[best.ok].min()) + FINEWEB_OFFSET[1]
        return FwplanError(
            f"no run on {label} is expected to reach {request.loss:g} nats within these budgets",
            hint=f"the lowest is {reached:.2f}; give more --hours or --tokens",
        )
    if (grid.needed <= available).any():
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


def _others(best: Best, shape: int) -> list[int]:
    """Return up to four of the Pareto set: the best larger one, and smaller ones by time and by memory."""
    front = pareto(best)
    front[shape] = False
    loss = np.where(front, best.loss, np.inf)
    found: list[int] = []

    def add(mask: Any) -> None:
        ranked = np.where(mask, loss, np.inf)
        if np.isfinite(ranked).any() and int(ranked.argmin()) not in found:
            found.append(int(ranked.argmin()))

    for share in (0.6, 0.3, 0.1):
        add(best.seconds <= share * best.seconds[shape])
    add(best.needed <= 0.7 * best.needed[shape])
    larger = best.ok & (best.parameters > 1.2 * best.parameters[shape])
    if larger.any():
        found.insert(0, int(np.where(larger, best.loss, np.inf).argmin()))
    return list(dict.fromkeys(found))[:ALTERNATIVES]


def _candidate(grid: Grid, horizon: Horizon, place: Place, request: Request, past: Sequence[Measurement]) -> Candidate:
    """Return a run of the grid with its recipe, estimated; cut until the middle of its time is within the budget."""
    most = seconds_allowed(request, grid.watts)
    spec = grid.space.spec(*place)
    steps = int(horizon.steps[0][place[1:]])
    spec = _replace(spec, grad_accum_steps=int(horizon.grad_accum_steps[0][place[1:]]))
    while True:
        chosen = estimate(with_recipe(spec, steps, request), request.target, measurements=past)
        if chosen.total_seconds is None or middle(chosen.total_seconds) <= most * (1 + 1e-9) or steps == 1:
            return Candidate(chosen)
        steps = max(1, min(steps - 1, int(steps * most / middle(chosen.total_seconds))))


def with_recipe(spec: RunSpec, steps: int, request: Request) -> RunSpec:
    """Return the spec with its horizon, learning rate, schedule and intervals; what is pinned stays."""
    spec = _replace(spec, max_steps=steps)
    rate = recipe.learning_rate(model_flops(spec).per_step * steps)
    train = spec.train
    batches = train.eval_batches * (train.eval_micro_batch_size or train.micro_batch_size) / train.micro_batch_size
    interval = recipe.eval_interval(steps, train.grad_accum_steps, batches)
    fields = {
        "learning_rate": rate,
        "min_lr": float(f"{rate / 10:.1e}"),
        "warmup_steps": recipe.warmup_steps(steps),
        "eval_interval": interval,
        "checkpoint_interval": interval,
    }
    return _replace(spec, **{name: value for name, value in fields.items() if name not in request.pins})


def _replace(spec: RunSpec, **train: object) -> RunSpec:
    return spec.model_copy(update={"train": spec.train.model_copy(update=train)})
