"""What a real step took: the one record that runs write and calibration reads."""

from __future__ import annotations

from functools import cached_property
from typing import Annotated

from pydantic import Field

from fwplan.estimators.speed import micro_step_flops
from fwplan.spec import Bytes, Count, RunSpec, Spec


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
