"""What of a device's memory a run may use, what it will take there, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from fwplan.estimators import overhead
from fwplan.estimators.overhead import Range

if TYPE_CHECKING:
    from fwplan.spec import DeviceSpec, RunSpec

Verdict = Literal["fits", "fits_at_point", "does_not_fit", "undecidable", "no_device"]


class Peak(Protocol):
    """A peak of live tensors and the interval around it: a Memory's, or arrays of many."""

    @property
    def allocated_bytes(self) -> Any:
        """The peak."""

    @property
    def allocated_interval(self) -> tuple[Any, Any]:
        """Its ends."""


@dataclass(frozen=True)
class Corrections:
    """What runs on a device say about the memory of another one there: numbers, or arrays of many. None: nothing.

    Attributes:
        allocated_ratio: measured over predicted peak, in the run's own mode.
        allocated_error: how far that is trusted, relative.
        reserved_ratio: reserved over allocated, the largest seen.
        context_bytes: CUDA: device used less reserved and what others held.
        resident_bytes: CPU: resident less live tensors.
    """

    allocated_ratio: Any
    allocated_error: Any
    reserved_ratio: Any
    context_bytes: Range | None
    resident_bytes: Range | None


@dataclass(frozen=True)
class Use:
    """Bytes on each level.

    Attributes:
        allocated: live tensors; on CUDA, up to the high end, also what torch's statistic of that name counts with them,
            the parts of blocks that it does not split off.
        reserved: what the caching allocator takes while nobody limits it; None on CPU, which has none.
        device_used: that and the CUDA context; on CPU resident memory.
        needed: the least device memory that the run still fits in: near its limit the allocator gives cached blocks
            back and tries again. The verdict is on this.
    """

    allocated: Range
    reserved: Range | None
    device_used: Range
    needed: Range


def device_use(spec: RunSpec, memory: Peak, device_type: str, learned: Corrections | None) -> Use:
    """Return what a step of this memory takes of a device, corrected by what was measured on it."""
    allocated = _allocated(memory, learned)
    if device_type == "cpu":
        resident = _resident(allocated, learned)
        return Use(allocated, None, resident, resident)
    ratios, leasts = overhead.RESERVED, overhead.LEAST_RESERVED
    if spec.train.expandable_segments:
        ratios, leasts = overhead.EXPANDABLE_RESERVED, overhead.EXPANDABLE_LEAST_RESERVED
    ratio, least = ratios[spec.train.loss.name], leasts[spec.train.loss.name]
    context = overhead.CUDA_CONTEXT
    if learned is not None and learned.reserved_ratio is not None:
        measured = learned.reserved_ratio
        ratio = Range(1.0, measured, measured + learned.allocated_error)
        least = Range(1.0, _smaller(least.point, measured), _smaller(least.high, ratio.high))
    if learned is not None and learned.context_bytes is not None:
        context = learned.context_bytes
    reserved = _times(allocated, ratio)  # the ratios are over live tensors, and hold what is not split off
    needed = _plus(_times(allocated, least), context)
    if learned is None or learned.allocated_ratio is None:
        allocated = replace(allocated, high=allocated.high * (1 + overhead.UNSPLIT_SHARE))
    return Use(allocated, reserved, _plus(reserved, context), needed)


def _smaller(a: Any, b: Any) -> Any:
    return (a + b - abs(a - b)) / 2  # of arrays, element by element


def _resident(allocated: Range, learned: Corrections | None) -> Range:
    if learned is not None and learned.resident_bytes is not None:
        return _plus(allocated, learned.resident_bytes)
    return _plus(_times(allocated, overhead.CPU_RESIDENT_OVER_LIVE), overhead.CPU_RUNTIME)


def _allocated(memory: Peak, learned: Corrections | None) -> Range:
    if learned is None or learned.allocated_ratio is None:
        low, high = memory.allocated_interval
        return Range(low, memory.allocated_bytes, high)
    point = memory.allocated_bytes * learned.allocated_ratio
    return Range(point * (1 - learned.allocated_error), point, point * (1 + learned.allocated_error))


def _times(a: Range, b: Range) -> Range:
    return Range(a.low * b.low, a.point * b.point, a.high * b.high)


def _plus(a: Range, b: Range) -> Range:
    return Range(a.low + b.low, a.point + b.point, a.high + b.high)


def available_bytes(device: DeviceSpec) -> int | None:
    """Return what a device leaves to a run, context included: its total less what others use. None: unknown."""
    if device.total_bytes is None:
        return None
    return max(0, device.total_bytes - (device.in_use_bytes or 0))


def verdict(use: Use, available: int | None) -> Verdict:
    """Return whether the whole interval fits (fits), its point does (fits_at_point), or not even that."""
    if available is None:
        return "no_device"
    if use.needed.high <= available:
        return "fits"
    return "fits_at_point" if use.needed.point <= available else "does_not_fit"
