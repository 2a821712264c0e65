"""The blocks of one pool, and what happens to them wherever their memory comes from: taken, split, coalesced."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from fwplan.allocator.sizes import GRAIN, SMALL_LIMIT

if TYPE_CHECKING:
    from fwplan.allocator.device import DeviceMemory
    from fwplan.allocator.settings import Settings

UNLIMITED = 2**63
FIRST_ADDRESS = {True: 1 << 44, False: 1 << 45}  # of the small and the large pool: apart, and exact as doubles


class Block:
    """A run of addresses: in use, free, or (expandable segments only) not backed by memory.

    Blocks of a segment are linked in the order of their addresses and leave no gap.
    """

    __slots__ = ("address", "in_use", "mapped", "next", "pool", "previous", "requested", "size")

    def __init__(self, pool: Pool, address: int, size: int, *, mapped: bool = True) -> None:
        self.pool = pool
        self.address = address
        self.size = size
        self.requested = 0  # by the tensor that uses it, before rounding
        self.in_use = False
        self.mapped = mapped
        self.previous: Block | None = None
        self.next: Block | None = None

    def link(self, before: Block | None, after: Block | None) -> None:
        """Stand between two neighbours, of which either may be none."""
        self.previous, self.next = before, after
        if before is not None:
            before.next = self
        if after is not None:
            after.previous = self


class Pool(ABC):
    """Free blocks, ordered by size and then address, so that the first large enough is the best fit."""

    def __init__(self, device: DeviceMemory, settings: Settings, *, small: bool) -> None:
        self.small = small
        self.device = device
        self.max_split = UNLIMITED if settings.max_split_size is None else settings.max_split_size
        self.slack = settings.max_non_split_rounding
        self.least_remainder = GRAIN if small else SMALL_LIMIT + 1  # that is worth a block of its own
        self.free: list[tuple[int, int, Block]] = []

    @abstractmethod
    def grow(self, size: int) -> Block | None:
        """Return a block of at least this size, with memory new from the device. None: the device refuses."""

    @abstractmethod
    def give_back_oversize(self, size: int) -> bool:
        """Give blocks of max_split_size or more back, enough for this size, and say whether there were."""

    @abstractmethod
    def give_back(self) -> None:
        """Give all memory back to the device that no tensor keeps from going."""

    def take(self, size: int) -> Block | None:
        """Return the best fitting free block, no longer listed as free. None: there is none."""
        index = bisect_left(self.free, (size,))
        if index == len(self.free):
            return None
        return self._take_at(index, size)

    def _take_at(self, index: int, size: int) -> Block | None:
        found = self.free[index][0]
        # An oversize block never serves a smaller request, and a larger one only if little is wasted.
        if found >= self.max_split and (size < self.max_split or found >= size + self.slack):
            return None
        return self.free.pop(index)[2]

    def splits(self, block: Block, size: int) -> bool:
        """Say whether what such a request leaves of this block becomes a free block."""
        return block.size - size >= self.least_remainder and (self.small or size < self.max_split)

    def cut(self, block: Block, size: int) -> Block:
        """Return the part of a block that a request of this size gets: its front, or all of it."""
        if not self.splits(block, size):
            return block
        front = Block(self, block.address, size)
        block.address += size
        block.size -= size
        front.link(block.previous, block)
        self.list_free(block)
        return front

    def release(self, block: Block) -> None:
        """Take back a block that was in use, and coalesce it with its free neighbours."""
        block.in_use = False
        self.merge(block)
        self.list_free(block)

    def merge(self, block: Block) -> None:
        """Let a block that is not listed swallow its neighbours in the same state."""
        before, after = block.previous, block.next
        if before is not None and not before.in_use and before.mapped == block.mapped:
            self.unlist(before)
            block.address = before.address
            block.size += before.size
            block.link(before.previous, after)
        if after is not None and not after.in_use and after.mapped == block.mapped:
            self.unlist(after)
            block.size += after.size
            block.link(block.previous, after.next)

    def list_free(self, block: Block) -> None:
        """List a block as free."""
        insort(self.free, (block.size, block.address, block))

    def unlist(self, block: Block) -> None:
        """Undo list_free."""
        del self.free[bisect_left(self.free, (block.size, block.address))]
