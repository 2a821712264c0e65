"""What past runs teach the next estimate: measured against predicted, per device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from statistics import median
from typing import TYPE_CHECKING, Any

from fwplan.estimators.levels import Corrections
from fwplan.estimators.overhead import Range
from fwplan.estimators.speed import executed_flops, micro_step_flops, middle, step_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwplan.estimators.speed import Speed
    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec

# A measured device is trusted no closer than this, however well past runs agree with each other.
LEAST_ERROR = 0.02
# How far a measured speed carries: to the same shape (clocks and neighbours vary), and to another one of that device.
SAME_SHAPE_TIME, OTHER_SHAPE_TIME = 1.15, 1.5
# A run teaches about runs of its own size: overheads that dwarf a toy vanish beside a real model, and the reverse.
COMPARABLE_BYTES, COMPARABLE_FLOPS = 4.0, 16.0


@dataclass(frozen=True)
class Calibration(Corrections):
    """What runs on one device say about a spec, its memory and its time."""

    runs: int  # that changed a figure
    timed: tuple[Measurement, ...]  # runs whose speed says something about the spec's
    time_factor: float  # and how far it carries: the interval is divided and multiplied by it

    def step_seconds(self, spec: RunSpec, prior: Speed | None) -> tuple[float, float] | None:
        """Return seconds a step, from what the timed runs took beside what `prior` says of them; None: nothing timed.

        Without a prior, time goes with FLOPs. Runs that disagree widen the interval: it holds all of them.
        """
        if not self.timed:
            return None

        def expected(run: RunSpec) -> float:
            return executed_flops(run) if prior is None else middle(step_seconds(run, prior))

        ratios = [m.step_seconds / expected(m.spec) for m in self.timed]
        point = expected(spec)
        return point * min(ratios) / self.time_factor, point * max(ratios) * self.time_factor


def calibrate(
    spec: RunSpec, predicted_bytes: int, device_name: str, measurements: Iterable[Measurement]
) -> Calibration | None:
    """Return what the measurements on that device say about this spec, or None where there are none.

    predicted_bytes is the formula's allocated peak of the spec: memory is learned from runs of comparable size only.
    """
    mode, here = mode_of(spec), on_device(device_name, measurements)
    sized = [m for m in here if _within(m.predicted_allocated_bytes, predicted_bytes, COMPARABLE_BYTES)]
    alike = [m for m in sized if mode_of(m.spec) == mode]
    timed = _timed(spec, here)
    contexts = context_bytes(here)
    used = {id(m) for m in (*sized, *timed)}
    if not used and not contexts:
        return None
    ratios = [m.peak_allocated_bytes / m.predicted_allocated_bytes for m in alike]
    ratio = median(ratios) if ratios else None
    reserved = [kept for m in sized if (kept := reserved_ratio(m, spec)) is not None]
    return Calibration(
        runs=len(used) or len(contexts),
        allocated_ratio=ratio,
        allocated_error=max((abs(r / ratio - 1) for r in ratios), default=0.0) + LEAST_ERROR if ratio else LEAST_ERROR,
        reserved_ratio=max(reserved) if reserved else None,
        context_bytes=spread(contexts),
        resident_bytes=spread([m.rss_bytes - m.peak_allocated_bytes for m in sized if m.rss_bytes]),
        timed=timed,
        time_factor=SAME_SHAPE_TIME if timed and shape_of(timed[0].spec) == shape_of(spec) else OTHER_SHAPE_TIME,
    )


def on_device(device_name: str, measurements: Iterable[Measurement]) -> list[Measurement]:
    """Return the measurements of a device, whatever its maker's name is written before it."""
    device = _key(device_name)
    return [m for m in measurements if _key(m.device_name) == device]


def reserved_ratio(measurement: Measurement, spec: RunSpec) -> float | None:
    """Return reserved over allocated, if it was measured with the allocator's settings of the spec."""
    same = measurement.spec.train.expandable_segments == spec.train.expandable_segments
    reserved = measurement.peak_reserved_bytes if same else None
    return reserved / measurement.peak_allocated_bytes if reserved else None


def context_bytes(measurements: Iterable[Measurement]) -> list[int]:
    """Return what the driver took beside the allocator, wherever that was measured."""
    return [context for m in measurements if (context := _context(m)) is not None]


def _context(measurement: Measurement) -> int | None:
    """Return what the driver took beside the allocator; None where it was not measured, or others came and went."""
    if not measurement.device_used_bytes or not measurement.peak_reserved_bytes:
        return None
    others = (measurement.spec.device.in_use_bytes or 0) if measurement.spec.device else 0
    context = measurement.device_used_bytes - measurement.peak_reserved_bytes - others
    return context if context > 0 else None


def spread(values: Sequence[int]) -> Range | None:
    """Return measured values as an interval, a tenth wider on both sides; None where there are none."""
    if not values:
        return None
    return widened(min(values), median(values), max(values))


def widened(least: Any, point: Any, most: Any) -> Range:
    """Return the interval of measured values, a tenth wider on both sides; of arrays, element by element."""
    return Range(0.9 * least, point, 1.1 * most)


@cache
def _key(name: str) -> str:
    """Return a device name without vendor words, case and blanks: "NVIDIA GeForce RTX 4070" is "rtx4070"."""
    words = name.lower().replace("-", " ").split()
    return "".join(word for word in words if word not in {"nvidia", "geforce"})


_DECIDES = attrgetter(
    "dtype", "compile", "loss.name", "loss.dtype", "loss.returns_logits", "loss.keeps_logits", "checkpointing",
    "checkpoint_every", "attention", "optimizer.name", "optimizer.implementation", "parallel.name",
)  # fmt: skip


def mode_of(spec: RunSpec) -> tuple[object, ...]:
    """Return what decides which formula was used: one mode's correction says nothing about another's."""
    model = spec.model
    return model.architecture, _DECIDES(spec.train), spec.train.grad_accum_steps > 1, model.dropout > 0


def _timed(spec: RunSpec, measurements: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Return the runs of this spec's precision and compilation: those of its very shape, else of comparable work."""
    work, kernels, shape = micro_step_flops(spec), kernels_of(spec), shape_of(spec)
    alike = [m for m in measurements if kernels_of(m.spec) == kernels]
    same = [m for m in alike if shape_of(m.spec) == shape]
    return tuple(same or [m for m in alike if _within(m.micro_step_flops, work, COMPARABLE_FLOPS)])


def kernels_of(spec: RunSpec) -> tuple[object, ...]:
    """Return what decides whose speed says something about whose; TF32 is for fp32 products alone."""
    train, tf32 = spec.train, spec.train.tf32 and spec.train.dtype == "float32"
    return spec.model.architecture, train.dtype, tf32, train.compile, train.attention, train.parallel.name


def _within(a: float, b: float, factor: float) -> bool:
    return b / factor <= a <= b * factor


def shape_of(spec: RunSpec) -> tuple[object, ...]:
    """Return all that sets a micro-step's speed."""
    train = spec.train
    optimizer = (train.optimizer.name, train.optimizer.implementation)
    recipe = (train.loss.name, train.checkpointing, train.checkpoint_every, *optimizer, train.loss.returns_logits)
    return spec.model, train.micro_batch_size, spec.sequence_length, train.parallel.world_size, *recipe
