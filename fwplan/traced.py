"""What a traced step says of a spec beside its closed form: the peak, what the allocator reserves, whether it fits."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fwplan.allocator.replay import Replay, replay, smallest_capacity
from fwplan.allocator.settings import Settings
from fwplan.estimators import overhead
from fwplan.estimators.overhead import Range

if TYPE_CHECKING:
    from fwplan.budget import Use, Verdict
    from fwplan.estimation import Estimate
    from fwplan.tracing.result import Trace


@dataclass(frozen=True)
class Traced:
    """A trace of an estimate's spec, replayed through a model of the CUDA caching allocator."""

    estimate: Estimate
    trace: Trace

    @property
    def settings(self) -> Settings:
        """The allocator's settings, as the spec asks for them."""
        return Settings(expandable_segments=self.estimate.spec.train.expandable_segments)

    @cached_property
    def unlimited(self) -> Replay | None:
        """What the allocator does when nobody limits it; None on CPU, which has none."""
        return replay(self.trace.events, settings=self.settings) if self.on_cuda else None

    @cached_property
    def least_bytes(self) -> int | None:
        """The least that the allocator must be able to reserve for the run to fit; None on CPU."""
        return smallest_capacity(self.trace.events, settings=self.settings) if self.on_cuda else None

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
    def on_cuda(self) -> bool:
        """Whether a GPU was traced."""
        return self.trace.device == "cuda"

    @property
    def difference(self) -> float | None:
        """The closed form's step peak over the traced one, less 1; None where they are not of the same step."""
        memory = self.estimate.memory
        if memory is None or self.estimate.spec.train.compile:
            return None
        return memory.step_bytes / self.trace.peak_allocated_bytes - 1

    @cached_property
    def verdict(self) -> Verdict | None:
        """Whether the run fits, by replays under what the device leaves it; None where the trace cannot say.

        It fits if it does beside the largest CUDA context and workspaces, and at the point estimate beside the likely
        ones.
        """
        available = self.estimate.available_bytes
        if not self.on_cuda or available is None or self.estimate.spec.train.compile:
            return None
        device = self.estimate.spec.device
        context, workspaces = overhead.CUDA_CONTEXT, overhead.workspaces(device.name if device else None)
        if self._fits(available - context.high - (workspaces.high - workspaces.point)):
            return "fits"
        return "fits_at_point" if self._fits(available - context.point) else "does_not_fit"

    def _fits(self, capacity: float) -> bool:
        return replay(self.trace.events, capacity=max(0, int(capacity)), settings=self.settings).fits

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as `explain --trace --json` prints it; bytes are integers."""
        trace, unlimited, op = self.trace, self.unlimited, self.trace.peak_op
        return {
            "device": trace.device,
            "seconds": trace.seconds,
            "peak_allocated_bytes": trace.peak_allocated_bytes,
            "closed_form_difference": self.difference,
            "peak_op": op.op,
            "peak_where": op.where,
            "reserved_bytes": unlimited.peak_reserved_bytes if unlimited else None,
            "least_reserved_bytes": self.least_bytes,
            "verdict": self.verdict,
            "alive_at_peak": [held.origin._asdict() | {"copies": held.copies, "bytes": held.bytes}
                              for held in trace.alive_at_peak()],
            "timeline_bytes": trace.timeline,
            "notes": list(trace.notes),
        }  # fmt: skip


def _about(interval: Range, point: float) -> Range:
    return Range(min(interval.low, point), point, max(interval.high, point))
