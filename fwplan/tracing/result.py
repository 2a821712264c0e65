"""What a trace found: the peak, what is alive there, the timeline. No torch."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.allocator.events import Event

CUDA_ROUNDING = 512  # bytes: the least that torch's caching allocator hands out, and what it rounds up to


class Origin(NamedTuple):
    """Where memory came from: the op that made it, the module it ran in, and its tensor (None: not a tensor's)."""

    op: str
    where: str
    shape: tuple[int, ...] | None
    dtype: str | None
    bytes: int


class Held(NamedTuple):
    """Equal tensors alive at a moment: how many, and their bytes together as the allocator counts them."""

    origin: Origin
    copies: int
    bytes: int


@dataclass(frozen=True)
class Trace:
    """All that a program allocated, from its beginning, on the given kind of device; step is its last whole step.

    Attributes:
        events: every allocation and release, in order.
        origins: of each allocation; an event's `tensor` is its index here.
        step: the events [begin, end) of the step that is reported; the ones before set it up.
        device: "cuda" rounds each allocation up to 512 bytes, "cpu" to nothing.
        seconds: what tracing took.
        notes: what was assumed or left out, each fit to print.
    """

    events: tuple[Event, ...]
    origins: tuple[Origin, ...]
    step: range
    device: Literal["cuda", "cpu"]
    seconds: float
    notes: tuple[str, ...] = ()

    @cached_property
    def live_bytes(self) -> list[int]:
        """Bytes alive after each event, from the very first."""
        return list(accumulate(self._signed(event) for event in self.events))

    @property
    def timeline(self) -> list[int]:
        """Bytes alive after each event of the step."""
        return self.live_bytes[self.step.start : self.step.stop]

    @cached_property
    def peak_at(self) -> int:
        """The event at which the step's live bytes are largest."""
        return max(self.step, key=self.live_bytes.__getitem__)

    @property
    def peak_allocated_bytes(self) -> int:
        """The most bytes of live tensors at any moment of the step."""
        return self.live_bytes[self.peak_at]

    @property
    def peak_op(self) -> Origin:
        """What was allocated last when the step reached its peak."""
        return self.origins[self.events[self.peak_at].tensor]

    def alive_at_peak(self) -> list[Held]:
        """Return what is alive at the peak, equal tensors of one op together, largest first; it adds up to the peak."""
        alive = dict.fromkeys(self._alive(self.peak_at))
        kinds = Counter(self._kind(self.origins[number]) for number in alive)
        held = (Held(kind, count, count * self._rounded(kind.bytes)) for kind, count in kinds.items())
        return sorted(held, key=lambda item: -item.bytes)

    def _alive(self, until: int) -> Iterator[int]:
        released = {event.tensor for event in self.events[: until + 1] if event.action == "release"}
        return (e.tensor for e in self.events[: until + 1] if e.action == "allocate" and e.tensor not in released)

    def _kind(self, origin: Origin) -> Origin:
        """Return the origin without its place among equal modules: blocks 0 to 11 are one kind."""
        where = ".".join("*" if part.isdigit() else part for part in origin.where.split("."))
        return origin._replace(where=where)

    def _signed(self, event: Event) -> int:
        size = self._rounded(event.bytes)
        return size if event.action == "allocate" else -size

    def _rounded(self, size: int) -> int:
        return -(-size // CUDA_ROUNDING) * CUDA_ROUNDING if self.device == "cuda" else size
