"""What past runs on a device teach each run of a grid: fwplan.calibration for arrays, a mask for each past run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.calibration import (
    COMPARABLE_BYTES,
    COMPARABLE_FLOPS,
    LEAST_ERROR,
    Calibration,
    context_bytes,
    kernels_of,
    mode_of,
    reserved_ratio,
    shape_of,
    spread,
    widened,
)
from fwplan.estimators.speed import executed_per_token, middle, step_seconds
from fwplan.vectorised import needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimators.overhead import Range
    from fwplan.estimators.speed import Hardware
    from fwplan.measurement import Measurement
    from fwplan.planning.space import Space
    from fwplan.spec import RunSpec


def needed_bytes(mode: RunSpec, peak: Any, above: Any, past: Sequence[Measurement]) -> Any:
    """Return the most bytes of the device that runs of a mode with these peaks may need.

    Args:
        mode: a run of it.
        peak: allocated bytes by the formula, an array.
        above: bytes that it may not know of, an array that fits the peak's.
        past: measurements on the device.
    """
    if not past:
        return needed(mode, peak, above, None).high
    need, above = np.empty(peak.shape), np.broadcast_to(above, peak.shape)
    for here, calibration in _calibrations(mode, peak, past):
        need[here] = needed(mode, peak[here], above[here], calibration).high
    return need


def _calibrations(mode: RunSpec, peak: Any, past: Sequence[Measurement]) -> Iterator[tuple[Any, Calibration]]:
    """Yield masks that together cover all places, each with what the past says of them, in arrays."""
    sized = _within(peak, [m.predicted_allocated_bytes for m in past], COMPARABLE_BYTES)
    wanted = mode_of(mode)
    ratios = [m.peak_allocated_bytes / m.predicted_allocated_bytes if mode_of(m.spec) == wanted else None for m in past]
    figures = (
        _Seen(sized, ratios),
        _Seen(sized, [reserved_ratio(m, mode) for m in past]),
        _Seen(sized, [m.rss_bytes - m.peak_allocated_bytes if m.rss_bytes else None for m in past]),
    )
    context = spread(context_bytes(past))
    which = sum(2**n * figure.anywhere for n, figure in enumerate(figures))
    for number in np.unique(which):
        here = which == number
        ratio, reserved, resident = (figure.at(here) if number & 2**n else None for n, figure in enumerate(figures))
        point = None if ratio is None else np.nanmedian(ratio, axis=0)
        error = 0.0 if ratio is None else np.nanmax(np.abs(ratio / point - 1), axis=0)
        yield (
            here,
            Calibration(
                runs=len(past),
                allocated_ratio=point,
                allocated_error=error + LEAST_ERROR,
                reserved_ratio=None if reserved is None else np.nanmax(reserved, axis=0),
                context_bytes=context,
                resident_bytes=None if resident is None else _spread(resident),
                timed=(),
                time_factor=1.0,
            ),
        )


class _Seen:
    """A figure of past runs, and where each of them speaks of it; NaN where it does not."""

    def __init__(self, where: Any, values: Sequence[float | None]) -> None:
        has = [n for n, value in enumerate(values) if value is not None]
        self.where = where[has]
        self.values = np.array([values[n] for n in has], dtype=float)
        self.anywhere = self.where.any(axis=0)

    def at(self, here: Any) -> Any:
        """Return an array of (runs, places of the mask)."""
        return np.where(self.where[:, here], self.values[:, None], np.nan)


def _spread(values: Any) -> Range:
    """Return calibration.spread of each column."""
    return widened(np.nanmin(values, axis=0), np.nanmedian(values, axis=0), np.nanmax(values, axis=0))


def time_ratio(
    space: Space,
    mode: RunSpec,
    past: Sequence[Measurement],
    speed: Hardware | None,
    known: dict[Any, float],
) -> Any:
    """Return measured over expected time at each place of a mode, in the middle; 1 where nothing was measured.

    Args:
        space: the places.
        mode: one of its modes.
        past: measurements on the device.
        speed: the device's by the table.
        known: what was expected of past runs, kept from mode to mode.
    """
    kernels = kernels_of(mode)
    alike = [m for m in past if kernels_of(m.spec) == kernels]
    if not alike or speed is None:
        return 1.0
    ratios = [m.step_seconds / _expected(m, speed, known) for m in alike]
    T = mode.sequence_length
    dims = mode.model.sized(space.L, space.H, space.C)
    work = executed_per_token(mode.model, mode.train, dims, T=T) * (1.0 * space.B * T)
    seen = _Seen(_within(work, [m.micro_step_flops for m in alike], COMPARABLE_FLOPS), ratios)
    ratio = np.ones(work.shape)
    found = seen.at(seen.anywhere)
    ratio[seen.anywhere] = np.sqrt(np.nanmin(found, axis=0) * np.nanmax(found, axis=0))
    for place, same in _places(space, mode, alike).items():  # a run of its very shape says more than all others
        ratio[place] = np.sqrt(min(ratios[n] for n in same) * max(ratios[n] for n in same))
    return ratio


def _expected(run: Measurement, speed: Hardware, known: dict[Any, float]) -> float:
    key = id(run), speed
    if key not in known:
        known[key] = middle(step_seconds(run.spec, speed))
    return known[key]


def _places(space: Space, mode: RunSpec, runs: Sequence[Measurement]) -> dict[tuple[int, int], list[int]]:
    """Return the places whose very shape was measured, each with the numbers of the runs that did."""
    places: dict[tuple[int, int], list[int]] = {}
    index = space.modes.index(mode)
    for number, run in enumerate(runs):
        model, train = run.spec.model, run.spec.train
        rows = np.flatnonzero((model.n_layer == space.L) & (model.n_head == space.H) & (model.n_embd == space.C))
        columns = np.flatnonzero(train.micro_batch_size == space.B)
        for row in rows:
            for column in columns:
                place = int(row), int(column)
                if shape_of(space.spec(index, *place)) == shape_of(run.spec):
                    places.setdefault(place, []).append(number)
    return places


def _within(values: Any, seen: Sequence[float], factor: float) -> Any:
    """Return for each past run where it is within a factor: a mask of (runs, shapes, micro-batches)."""
    past = np.array(seen, dtype=float)[:, None, None]
    return (values / factor <= past) & (past <= values * factor)
