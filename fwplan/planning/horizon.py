"""How far each run of a grid gets within tokens, time and money: its batch, its steps, its expected loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimators.quality import FINEWEB_OFFSET, MOST_EPOCHS
from fwplan.estimators.recipe import EVALUATION_SHARE
from fwplan.planning.laws import (
    eval_batches_many,
    evaluation_share_many,
    repeated_loss_many,
    tokens_for_loss,
    tokens_per_step_many,
)
from fwplan.spec import defaults

if TYPE_CHECKING:
    from fwplan.planning.grid import Grid
    from fwplan.planning.request import Request


@dataclass(frozen=True)
class Horizon:
    """Arrays over the grid: accumulation, steps, tokens, seconds of the run (NaN: unknown) and the law's loss."""

    grad_accum_steps: Any
    steps: Any
    tokens: Any
    seconds: Any
    loss: Any
    possible: Any  # at least one step, and no micro-batch beyond the advised batch


def seconds_allowed(request: Request, watts: float | None) -> float:
    """Return the longest that the run may take: the hours, or what the money pays for.

    Raises:
        FwplanError: money is to bound it, and what an hour costs is unknown.
    """
    if request.budget is None:
        return request.hours * 3600
    rate = cost_per_hour(request, watts)
    if rate is None:
        raise FwplanError(
            f"what an hour on {request.target.label} costs is unknown, as its power is: --budget sets no bound",
            hint="name the card with --gpu, or say --gpu-hour-price alone",
            exit_code=ExitCode.UNDECIDABLE,
        )
    return float(min(request.hours, request.budget / rate) * 3600)


def cost_per_hour(request: Request, watts: float | None) -> float | None:
    """Return rent and electricity of an hour of all devices; None: neither price is given, or the power is unknown."""
    if request.gpu_hour_price is None and request.kwh_price is None:
        return None
    power = 0.0
    if request.kwh_price is not None:
        if watts is None:
            return None
        power = watts / 1000 * request.kwh_price
    return float(((request.gpu_hour_price or 0.0) + power) * request.pins.get("world_size", 1))


def tokens_allowed(request: Request, parameters: Any) -> Any:
    """Return the most tokens worth training on: as asked, as the data bears, as the goal needs; inf: unbounded."""
    unique = request.data.tokens if request.data else None
    limits = [request.tokens or np.inf]
    if unique:
        limits.append(unique * request.epochs if request.epochs else np.inf if request.tokens else unique * MOST_EPOCHS)
    most = min(limits)
    if request.objective == "cheapest" and request.loss is not None:
        return np.minimum(most, tokens_for_loss(parameters, request.loss - FINEWEB_OFFSET[1], unique))
    return np.full(np.shape(parameters), float(most))


def horizon_of(grid: Grid, request: Request) -> Horizon:
    """Return how far every run of the grid gets.

    Raises:
        FwplanError: neither tokens nor data nor time bound the run, or the money cannot be reckoned.
    """
    T = request.context_length
    sequences = grid.space.B * float(
        grid.space.modes[0].train.parallel.world_size
    )  # that all processes take in a micro-step
    most = tokens_allowed(request, grid.parameters)
    seconds = seconds_allowed(request, grid.watts)
    if not grid.timed and request.budget is not None:
        raise FwplanError(
            f"how fast {request.target.label} is is unknown, so --budget sets no bound",
            hint="give --tokens alone",
            exit_code=ExitCode.UNDECIDABLE,
        )
    if not grid.timed and not np.isfinite(most).all():
        raise FwplanError(
            f"how fast {request.target.label} is is unknown, so --hours alone sets no horizon",
            hint="give --tokens 10e9",
        )
    per_token = grid.micro_seconds / (sequences * T)
    first = np.fmin(most, seconds / per_token)
    batch = tokens_per_step_many(first, grid.flops_per_token * first)
    pinned = request.pins.get("grad_accum_steps")
    accumulation = (
        np.maximum(1.0, np.rint(batch / (sequences * T))) if pinned is None else pinned * np.ones(batch.shape)
    )
    per_step = accumulation * sequences * T
    step = accumulation * grid.micro_seconds + grid.optimizer_seconds
    affordable = _affordable(grid, request, accumulation, seconds / step)
    wanted = (
        np.ceil(most / per_step) if request.tokens or request.objective == "cheapest" else np.floor(most / per_step)
    )
    steps = np.fmin(affordable, wanted)
    tokens = steps * per_step
    unique = request.data.tokens if request.data else None
    possible = (steps >= 1) & (tokens >= T) & ((sequences * T <= batch) | (grid.space.B.min() == grid.space.B))
    seen = np.maximum(np.minimum(tokens, most), 1)  # the last step's surplus is no merit
    loss = repeated_loss_many(grid.parameters, seen, unique)
    whole = 1 + _evaluations(grid, request, accumulation, steps)
    return Horizon(accumulation, steps, tokens, steps * step * whole, loss, possible)


def _affordable(grid: Grid, request: Request, accumulation: Any, most: Any) -> Any:
    """Return the steps that there is time for beside their evaluations, where there is time for `most` without any."""
    fewest = np.floor(most / (1 + EVALUATION_SHARE) + 1e-9)  # more steps are evaluated no more often
    return np.maximum(fewest, np.floor(most / (1 + _evaluations(grid, request, accumulation, fewest)) + 1e-9))


def _evaluations(grid: Grid, request: Request, accumulation: Any, steps: Any) -> Any:
    """Return what evaluations add to the time of the steps, as a share."""
    train, B = grid.space.modes[0].train, grid.space.B
    evaluated = defaults.eval_micro_batch_size(train, B)
    batches = request.pins.get("eval_batches")
    if batches is None:
        batches = eval_batches_many(steps, accumulation, evaluated * request.context_length)
    return evaluation_share_many(steps, accumulation, batches * evaluated / B, request.pins.get("eval_interval"))
