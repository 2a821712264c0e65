"""What a real step took: the one record that runs write and calibration reads."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import Field

from fwplan.estimators.speed import executed_flops, micro_step_flops
from fwplan.fields import Bytes, Count, Spec
from fwplan.spec import RunSpec  # noqa: TC001  # pydantic reads it when the class is made

# What no step of a run is, by far: then somebody wrote into the record, or the clock was set back.
_MOST_OFF = 10.0  # peak over prediction; formulas are off by tens of percent where they are worst
_MOST_SECONDS = 86_400.0
_MOST_FLOPS = 1e17  # per second; the fastest GPUs of 2026 do a tenth of that, in four bits
_MOST_SHARE = 2.0  # of the device's memory: drivers on Windows lend some of the host's


class Measurement(Spec):
    """Measured memory and speed of one run's steps, beside what was predicted for it.

    Levels of memory, never mixed: allocated (live tensors), reserved (what the caching allocator took), device used
    (reserved + context + workspaces). None where the device has no such figure.
    """

    spec: RunSpec
    device_type: str
    device_name: str
    torch_version: str
    fwplan_version: str
    measured_at: str  # ISO 8601, UTC
    predicted_allocated_bytes: Count  # by the formula alone, before any calibration
    peak_allocated_bytes: Count
    peak_reserved_bytes: Bytes | None = None
    device_used_bytes: Bytes | None = None
    rss_bytes: Bytes | None = None  # CPU: largest resident set of the process
    step_seconds: Annotated[float, Field(gt=0)]  # median over the timed steps
    tokens_per_second: float
    timed_steps: int

    @cached_property
    def micro_step_flops(self) -> float:
        """FLOPs of one micro-step: how much work it was; every estimate of the device asks."""
        return micro_step_flops(self.spec)

    @property
    def is_odd(self) -> bool:
        """Whether no step of this spec on any device can have taken that: nothing is learned from it."""
        off = self.peak_allocated_bytes / self.predicted_allocated_bytes
        return (
            not 1 / _MOST_OFF <= off <= _MOST_OFF
            or not executed_flops(self.spec) / _MOST_FLOPS <= self.step_seconds <= _MOST_SECONDS
            or self._exceeds_the_device()
        )

    def _exceeds_the_device(self) -> bool:
        total = self.spec.device.total_bytes if self.spec.device else None
        taken = (self.peak_reserved_bytes, self.device_used_bytes, self.rss_bytes)
        return bool(total) and max(n_bytes or 0 for n_bytes in taken) > _MOST_SHARE * (total or 0)
