"""What the CUDA caching allocator makes of a traced step, and whether a device has room for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from fwplan.allocator.replay import Replay, replay, smallest_capacity
from fwplan.allocator.settings import Settings
from fwplan.estimators import overhead
from fwplan.estimators.levels import available_bytes

if TYPE_CHECKING:
    from fwplan.estimators.levels import Verdict
    from fwplan.spec import DeviceSpec
    from fwplan.tracing.result import Trace


@dataclass(frozen=True)
class Replayed:
    """A trace, replayed through a model of the CUDA caching allocator; device None: no card is named."""

    trace: Trace
    device: DeviceSpec | None = None
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def unlimited(self) -> Replay | None:
        """What the allocator does when nobody limits it; None on CPU, which has none."""
        return replay(self.trace.events, settings=self.settings) if self.on_cuda else None

    @cached_property
    def least_bytes(self) -> int | None:
        """The least that the allocator must be able to reserve for the run to fit; None on CPU."""
        return smallest_capacity(self.trace.events, settings=self.settings) if self.on_cuda else None

    @property
    def on_cuda(self) -> bool:
        """Whether a GPU was traced."""
        return self.trace.device == "cuda"

    @property
    def available_bytes(self) -> int | None:
        """What the device leaves to a run, its context included; None: unknown."""
        return available_bytes(self.device) if self.device is not None else None

    @cached_property
    def verdict(self) -> Verdict | None:
        """Whether the run fits, by replays under what the device leaves it; None where the trace cannot say.

        It fits if it does beside the largest CUDA context and workspaces, and at the point estimate beside the likely
        ones.
        """
        available = self.available_bytes
        if not self.on_cuda or available is None:
            return None
        context, workspaces = overhead.CUDA_CONTEXT, overhead.workspaces(self.device.name if self.device else None)
        if self._fits(available - context.high - (workspaces.high - workspaces.point)):
            return "fits"
        return "fits_at_point" if self._fits(available - context.point) else "does_not_fit"

    def _fits(self, capacity: float) -> bool:
        return replay(self.trace.events, capacity=max(0, int(capacity)), settings=self.settings).fits

    def as_dict(self) -> dict[str, Any]:
        """Return the trace as `--json` prints it; bytes are integers."""
        trace, unlimited, op = self.trace, self.unlimited, self.trace.peak_op
        return {
            "device": trace.device,
            "seconds": trace.seconds,
            "peak_allocated_bytes": trace.peak_allocated_bytes,
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
