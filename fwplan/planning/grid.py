"""What every run of a space needs and takes, as arrays; the budgets are laid over them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.estimation.vectorised import needed, peak_allocated
from fwplan.estimators.memory import bytes_above
from fwplan.estimators.speed import model_per_token, step_parts
from fwplan.learning.arrays import corrections_of, time_ratio
from fwplan.learning.calibration import on_device
from fwplan.machine.target import speed_of
from fwplan.model.architecture import Dims

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.estimators.speed import Speed
    from fwplan.learning.measurement import Measurement
    from fwplan.machine.target import Target
    from fwplan.model.architecture import Architecture
    from fwplan.planning.space import Space
    from fwplan.spec import RunSpec, TrainSpec


@dataclass(frozen=True)
class Grid:
    """Arrays of shape (modes, shapes, micro-batches), or of fewer where less decides.

    Attributes:
        space: what the places stand for.
        needed: the most bytes of the device that a run may need.
        cost: how much a mode recomputes and leaves unfused, as a rank: stands in for a speed that is unknown.
        micro_seconds: middle of one micro-step's time; NaN where the speed is unknown.
        optimizer_seconds: and of the optimizer after them.
        parameters: (shapes, 1), as scaling laws count them.
        total_parameters: (shapes, 1).
        flops_per_token: (shapes, 1), of the model.
        watts: full board power; None: unknown.
    """

    space: Space
    needed: Any
    cost: Any
    micro_seconds: Any
    optimizer_seconds: Any
    parameters: Any
    total_parameters: Any
    flops_per_token: Any
    watts: float | None

    @property
    def timed(self) -> bool:
        """Whether the device's speed is known."""
        return not bool(np.isnan(self.micro_seconds).any())


def grid_of(space: Space, target: Target, past: Sequence[Measurement]) -> Grid:
    """Return the whole space's memory and speed on a device."""
    known: dict[Any, Any] = {}
    here = on_device(target.label, past)
    planes = zip(*(_plane(space, mode, target, here, known) for mode in space.modes), strict=True)
    need, micro, optimizer = (np.stack(arrays) for arrays in planes)
    T = space.modes[0].sequence_length
    speed = speed_of(space.modes[0].train, target)
    return Grid(
        space,
        need,
        np.array([_cost(mode.train) for mode in space.modes])[:, None, None] * np.ones(need.shape),
        micro,
        optimizer,
        parameters=space.of_shapes(lambda model, dims: model.capacity(dims)),
        total_parameters=space.of_shapes(lambda model, dims: model.parameters(dims)),
        flops_per_token=space.of_shapes(lambda model, dims: model_per_token(model, dims, T=T)),
        watts=speed.watts if speed else None,
    )


def fastest_that_fits(grid: Grid, available: float) -> tuple[Grid, Any]:
    """Return the grid with one mode at each shape and micro-batch, the fastest that fits; and which that is.

    Modes differ in memory and in a micro-step's time alone, so what is fastest does not depend on the budgets.
    """
    slowness = grid.micro_seconds if grid.timed else grid.cost
    mode = np.where(grid.needed <= available, slowness, np.inf).argmin(axis=0)

    def chosen(array: Any) -> Any:
        return np.take_along_axis(array, mode[None], axis=0)

    names = ("needed", "cost", "micro_seconds", "optimizer_seconds")
    return replace(grid, **{name: chosen(getattr(grid, name)) for name in names}), mode


def _cost(train: TrainSpec) -> float:
    again = 0 if train.checkpointing == "none" else 3 / train.checkpoint_every
    return 4 * (not train.compile) + again + 0.5 * (train.loss.name == "chunked")


def _plane(
    space: Space, mode: RunSpec, target: Target, past: Sequence[Measurement], known: dict[Any, Any]
) -> tuple[Any, Any, Any]:
    """Return one mode's needed bytes, micro-step seconds and optimizer seconds, corrected by what was measured."""

    def peak_of(model: Architecture, dims: Dims) -> Any:
        return peak_allocated(mode.model_copy(update={"model": model}), dims, micro_batch_size=space.B)

    peak = space.of_shapes(peak_of)
    speed = speed_of(mode.train, target)
    micro, optimizer = _seconds(space, mode, speed, known)
    ratio = time_ratio(space, mode, past, speed, known)
    above = bytes_above(mode, space.B * mode.sequence_length)
    return _needed(mode, peak, above, past), micro * ratio, optimizer * ratio


def _needed(mode: RunSpec, peak: Any, above: Any, past: Sequence[Measurement]) -> Any:
    """Return the most bytes of the device that runs of a mode with these peaks may need.

    above: bytes that the formula may not know of, an array that fits the peak's.
    """
    if not past:
        return needed(mode, peak, above, None).high
    need, above = np.empty(peak.shape), np.broadcast_to(above, peak.shape)
    for here, learned in corrections_of(mode, peak, past):
        need[here] = needed(mode, peak[here], above[here], learned).high
    return need


def _seconds(space: Space, mode: RunSpec, speed: Speed | None, known: dict[Any, Any]) -> tuple[Any, Any]:
    shape = (space.shapes, space.B.size)
    if speed is None:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    B, T = 1.0 * space.B, mode.sequence_length  # floats as seconds are: numpy is slow where integers meet them

    def seconds_of(model: Architecture, dims: Dims) -> Any:
        sizes = Dims(*(1.0 * size for size in dims))
        low, high = step_parts(model, mode.train, speed, sizes, B=B, T=T, known=known.setdefault(model, {}))
        micro, optimizer, _ = np.broadcast_arrays(*(np.sqrt(a * b) for a, b in zip(low, high, strict=True)), B)
        return np.stack((micro, optimizer), axis=1)

    both = space.of_shapes(seconds_of)
    return both[:, 0], both[:, 1]
