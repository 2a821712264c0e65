"""Whether a stream of allocations fits a capacity, what it reserves there, and the least capacity that it fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.allocator.caching import CachingAllocator, OutOfMemory, Shortage
from fwplan.allocator.settings import DEFAULT, Settings
from fwplan.allocator.sizes import LARGE_GRAIN, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwplan.allocator.events import Event


@dataclass(frozen=True)
class Replay:
    """What the allocator did with a stream, up to its end or its failure. Sizes in bytes, events by index from 0.

    Attributes:
        fits: every event was served.
        peak_allocated_bytes: the most that was allocated at once, as the allocator counts: with its rounding.
        peak_allocated_at: the first event with that; None: nothing was allocated.
        peak_reserved_bytes: the most that was reserved at once.
        peak_reserved_at: the first event with that; None: nothing was reserved.
        allocated_bytes: at the end.
        reserved_bytes: at the end.
        segments: how many segments, or mapped stretches of an expandable one, are held at the end.
        device_requests: how often the device granted memory.
        retries: how often cached blocks were given back because it refused.
        least_refused_bytes: the least capacity that would have granted some refused request; None: none was refused.
            Every capacity from peak_reserved_bytes to just below it leads to this same replay.
        failed_at: the event that could not be served; None: it fits.
        failed: the figures of its out-of-memory error; None: it fits.
    """

    fits: bool
    peak_allocated_bytes: int
    peak_allocated_at: int | None
    peak_reserved_bytes: int
    peak_reserved_at: int | None
    allocated_bytes: int
    reserved_bytes: int
    segments: int
    device_requests: int
    retries: int
    least_refused_bytes: int | None
    failed_at: int | None = None
    failed: Shortage | None = None


def replay(events: Iterable[Event], *, capacity: int | None = None, settings: Settings = DEFAULT) -> Replay:
    """Return what the allocator does with a stream when it may reserve so many bytes; None: as many as it likes.

    Raises:
        FwplanError: the stream allocates a living tensor, or releases one that is not alive.
    """
    allocator = CachingAllocator(capacity, settings)
    allocate, release = allocator.allocate, allocator.release
    allocated = reserved = 0
    allocated_at = reserved_at = failed_at = failed = None
    for index, (action, tensor, size, _) in enumerate(events):
        if action == "release":
            release(tensor)
            continue
        try:
            allocate(tensor, size)
        except OutOfMemory as error:
            failed_at, failed = index, error.shortage
        if allocator.peak_allocated_bytes > allocated:
            allocated, allocated_at = allocator.peak_allocated_bytes, index
        if allocator.peak_reserved_bytes > reserved:
            reserved, reserved_at = allocator.peak_reserved_bytes, index
        if failed is not None:
            break
    return Replay(
        fits=failed is None,
        peak_allocated_bytes=allocated,
        peak_allocated_at=allocated_at,
        peak_reserved_bytes=reserved,
        peak_reserved_at=reserved_at,
        allocated_bytes=allocator.allocated_bytes,
        reserved_bytes=allocator.reserved_bytes,
        segments=len(allocator.segments()),
        device_requests=allocator.device_requests,
        retries=allocator.retries,
        least_refused_bytes=allocator.least_refused_bytes,
        failed_at=failed_at,
        failed=failed,
    )


def smallest_capacity(events: Iterable[Event], *, settings: Settings = DEFAULT) -> int:
    """Return the least capacity under which a stream fits, in bytes, a multiple of 2 MiB.

    By bisection between what is alive at once and what is reserved without a limit. Two facts cut it short: a replay
    that fits is the same under every capacity down to its own peak, and one that fails fails likewise under every
    capacity up to the least that would have granted a refused request.

    Fitting is not strictly monotone: a little more room can put off a retry, and leave another layout behind when it
    comes. The stream does fit under the capacity returned and does not under 2 MiB less, but there may be exceptions
    on either side: replay() decides for a given card.
    """
    stream = list(events)
    low = _up(_peak_alive(stream, settings))
    high = _up(replay(stream, settings=settings).peak_reserved_bytes)
    while low < high:
        middle = (low + high) // 2 // LARGE_GRAIN * LARGE_GRAIN
        found = replay(stream, capacity=middle, settings=settings)
        if found.fits:
            high = _up(found.peak_reserved_bytes)
        else:
            low = _up(found.least_refused_bytes or middle + 1)
    return high


def _peak_alive(events: Sequence[Event], settings: Settings) -> int:
    """Return the most bytes that the rounded requests alive at once add up to: no placement needs less."""
    alive = peak = 0
    for event in events:
        size = rounded(event.bytes, settings)
        alive += size if event.action == "allocate" else -size
        peak = max(peak, alive)
    return peak


def _up(size: int) -> int:
    return -(-size // LARGE_GRAIN) * LARGE_GRAIN
