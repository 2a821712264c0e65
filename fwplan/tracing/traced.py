"""What a traced step says of a spec beside its closed form: the peak, what the allocator reserves, whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fwplan.allocator.settings import Settings
from fwplan.estimators.overhead import Range
from fwplan.tracing.replayed import Replayed

if TYPE_CHECKING:
    from fwplan.allocator.replay import Replay
    from fwplan.estimation.estimate import Estimate
    from fwplan.estimators.levels import Use, Verdict
    from fwplan.tracing.result import Trace


@dataclass(frozen=True)
class Traced:
    """A trace of an estimate's spec, and what the caching allocator makes of it."""

    estimate: Estimate
    trace: Trace

    @cached_property
    def replayed(self) -> Replayed:
        """The trace in the allocator, with the settings that the spec asks for."""
        spec = self.estimate.spec
        settings = Settings(expandable_segments=spec.train.expandable_segments)
        return Replayed(self.trace, self.estimate.target.device if self.estimate.target else spec.device, settings)

    @property
    def unlimited(self) -> Replay | None:
        """What the allocator does when nobody limits it; None on CPU, which has none."""
        return self.replayed.unlimited

    @property
    def least_bytes(self) -> int | None:
        """The least that the allocator must be able to reserve for the run to fit; None on CPU."""
        return self.replayed.least_bytes

    @property
    def use(self) -> Use | None:
        """The estimate's levels with what the replays say as their points.

        None where the trace is of another step, or real runs have been measured.
        """
        use, unlimited, least, learned = self.estimate.use, self.unlimited, self.least_bytes, self.estimate.calibration
        if self.difference is None or (learned is not None and learned.reserved_ratio is not None):
            return None
        if use is None or use.reserved is None or unlimited is None or least is None:
            return None
        context = use.device_used.point - use.reserved.point
        reserved = unlimited.peak_reserved_bytes
        return replace(
            use,
            reserved=_about(use.reserved, reserved),
            device_used=_about(use.device_used, reserved + context),
            needed=_about(use.needed, least + context),
        )

    @property
    def difference(self) -> float | None:
        """The closed form's step peak over the traced one, less 1; None where they are not of the same step."""
        memory = self.estimate.memory
        if memory is None or self.estimate.spec.train.compile:
            return None
        return memory.step_bytes / self.trace.peak_allocated_bytes - 1

    @property
    def verdict(self) -> Verdict | None:
        """Whether the run fits, by replays under what the device leaves it; None where the trace is of another step."""
        return None if self.estimate.spec.train.compile else self.replayed.verdict

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as `explain --trace --json` prints it; bytes are integers."""
        return self.replayed.as_dict() | {"closed_form_difference": self.difference, "verdict": self.verdict}


def _about(interval: Range, point: float) -> Range:
    return Range(min(interval.low, point), point, max(interval.high, point))
