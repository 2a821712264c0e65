"""The memory that segments are cut from: how much there is, and how much of it the allocator has taken."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[[str, int, int], None]  # action, address, bytes; called for all that a memory snapshot lists


class DeviceMemory:
    """Bytes of one device, as cudaMalloc and cuMemCreate hand them out: all that is asked for, or nothing.

    Attributes:
        capacity: bytes that the allocator may hold at once; None: no limit.
        reserved: bytes that it holds.
        peak_reserved: the most that it held so far.
        least_refused: the least capacity that would have granted some request that was refused; None: none was.
        requests: how many requests were granted.
    """

    def __init__(self, capacity: int | None, record: Record | None) -> None:
        self.capacity = capacity
        self.reserved = 0
        self.peak_reserved = 0
        self.least_refused: int | None = None
        self.requests = 0
        self.record = record

    def take(self, size: int) -> bool:
        """Take so many bytes, and say whether that was possible."""
        total = self.reserved + size
        if self.capacity is not None and total > self.capacity:
            self.least_refused = total if self.least_refused is None else min(self.least_refused, total)
            return False
        self.reserved = total
        self.peak_reserved = max(self.peak_reserved, total)
        self.requests += 1
        return True

    def give_back(self, size: int) -> None:
        """Give so many bytes back."""
        self.reserved -= size

    def note(self, action: str, address: int, size: int) -> None:
        """Tell whoever is recording what happened."""
        if self.record is not None:
            self.record(action, address, size)
