"""What of a device's memory a run may use, what it will take there, and whether it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from fwplan.estimators import overhead
from fwplan.estimators.overhead import Range

if TYPE_CHECKING:
    from fwplan.calibration import Calibration
    from fwplan.estimators.memory import Memory
    from fwplan.spec import DeviceSpec

Verdict = Literal["fits", "fits_at_point", "does_not_fit", "undecidable", "no_device"]


@dataclass(frozen=True)
class Use:
    """Bytes on three levels: allocated (live tensors), reserved (caching allocator), device used (with the context)."""

    allocated: Range
    reserved: Range | None  # None on CPU: there is no caching allocator
    device_used: Range


def device_use(memory: Memory, device_type: str, calibration: Calibration | None) -> Use:
    """Return what a step of this memory takes of a device, corrected by what was measured on it."""
    allocated = _allocated(memory, calibration)
    if device_type == "cpu":
        if calibration is not None and calibration.resident_bytes is not None:
            return Use(allocated, None, _plus(allocated, calibration.resident_bytes))
        return Use(allocated, None, _plus(_times(allocated, overhead.CPU_RESIDENT_OVER_LIVE), overhead.CPU_RUNTIME))
    ratio, context = overhead.RESERVED_OVER_ALLOCATED, overhead.CUDA_CONTEXT
    if calibration is not None and calibration.reserved_ratio is not None:
        ratio = Range(1.0, calibration.reserved_ratio, calibration.reserved_ratio + calibration.allocated_error)
    if calibration is not None and calibration.context_bytes is not None:
        context = calibration.context_bytes
    reserved = _times(allocated, ratio)
    return Use(allocated, reserved, _plus(reserved, context))


def _allocated(memory: Memory, calibration: Calibration | None) -> Range:
    if calibration is None or calibration.allocated_ratio is None:
        low, high = memory.allocated_interval
        return Range(low, memory.allocated_bytes, high)
    point = memory.allocated_bytes * calibration.allocated_ratio
    return Range(point * (1 - calibration.allocated_error), point, point * (1 + calibration.allocated_error))


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
    if use.device_used.high <= available:
        return "fits"
    return "fits_at_point" if use.device_used.point <= available else "does_not_fit"
