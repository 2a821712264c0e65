"""What every run of a space needs and takes, as arrays; the budgets are laid over them afterwards."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.calibration import on_device
from fwplan.estimators.memory import bytes_above
from fwplan.estimators.speed import model_per_token, step_parts
from fwplan.planning.learned import needed_bytes, time_ratio
from fwplan.target import hardware
from fwplan.vectorised import peak_allocated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.estimators.speed import Hardware
    from fwplan.measurement import Measurement
    from fwplan.planning.space import Space
    from fwplan.spec import RunSpec, TrainSpec
    from fwplan.target import Target


@dataclass(frozen=True)
class Grid:
    """Arrays of shape (modes, shapes, micro-batches), or of fewer where less decides.

    Attributes:
        space: what the places stand for.
        needed: the most bytes of the device that a run may need.
        cost: how much a mode recomputes and leaves unfused, as a rank: stands in for a speed that is unknown.
        micro_seconds: middle of one micro-step's time; NaN where the speed is unknown.
        optimizer_seconds: and of the optimizer after them.
        parameters: (shapes, 1), without positions.
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
    model = space.modes[0].model
    dims = model.sized(space.L, space.H, space.C)
    total = model.parameters(dims)
    speed = hardware(space.modes[0].train, target)
    return Grid(
        space,
        need,
        np.array([_cost(mode.train) for mode in space.modes])[:, None, None] * np.ones(need.shape),
        micro,
        optimizer,
        parameters=total - model.positions(dims),
        total_parameters=total,
        flops_per_token=model_per_token(model, dims, T=model.context_length),
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
    return 4 * (not train.compile) + again + 0.5 * (train.loss == "chunked")


def _plane(
    space: Space, mode: RunSpec, target: Target, past: Sequence[Measurement], known: dict[Any, Any]
) -> tuple[Any, Any, Any]:
    """Return one mode's needed bytes, micro-step seconds and optimizer seconds, corrected by what was measured."""
    peak = peak_allocated(mode, n_layer=space.L, n_head=space.H, n_embd=space.C, micro_batch_size=space.B)
    speed = hardware(mode.train, target)
    micro, optimizer = _seconds(space, mode, speed, known)
    ratio = time_ratio(space, mode, past, speed, known)
    above = bytes_above(mode, space.B * mode.sequence_length)
    return needed_bytes(mode, peak, above, past), micro * ratio, optimizer * ratio


def _seconds(space: Space, mode: RunSpec, speed: Hardware | None, known: dict[Any, Any]) -> tuple[Any, Any]:
    shape = (space.L.size, space.B.size)
    if speed is None:
        return np.full(shape, np.nan), np.full(shape, np.nan)
    # floats as seconds are: numpy is slow where integers meet them
    dims = mode.model.sized(1.0 * space.L, 1.0 * space.H, 1.0 * space.C)
    low, high = step_parts(mode.model, mode.train, speed, dims, B=1.0 * space.B, T=mode.sequence_length, known=known)
    micro, optimizer = (np.sqrt(a * b) * np.ones(shape) for a, b in zip(low, high, strict=True))
    return micro, optimizer
