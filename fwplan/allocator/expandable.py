"""The other source of a pool's memory, expandable_segments:True: one range of addresses, backed page by page."""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING

from fwplan.allocator.pool import FIRST_ADDRESS, Block, Pool
from fwplan.allocator.sizes import GRAIN, SMALL_SEGMENT

if TYPE_CHECKING:
    from fwplan.allocator.device import DeviceMemory
    from fwplan.allocator.settings import Settings

_PAGES = 1 << 22  # 8 TiB of small pages, 80 TiB of large ones


class ExpandablePool(Pool):
    """Blocks cut from one range that grows at its end, or into holes that were given back.

    Pages are 2 MiB in the small pool and large_segment_size, 20 MiB, in the large one. PyTorch's range is 1 1/8 of
    the card's memory and it starts another when that is used up; this one is endless for all practical purposes.
    """

    def __init__(self, device: DeviceMemory, settings: Settings, *, small: bool) -> None:
        super().__init__(device, settings, small=small)
        self.least_remainder = GRAIN  # large blocks are split to the last 512 bytes too
        self._page = SMALL_SEGMENT if small else settings.large_segment_size
        self._origin = FIRST_ADDRESS[small]
        self._unmapped: list[tuple[int, Block]] = []
        self.list_free(Block(self, self._origin, _PAGES * self._page, mapped=False))

    def take(self, size: int) -> Block | None:
        """Best fit, where a block that can grow into the pages behind it counts with those."""
        index = bisect_left(self.free, (size,))
        if index == len(self.free):
            return None
        while index + 1 < len(self.free) and _room(self.free[index + 1][2]) < _room(self.free[index][2]):
            index += 1
        return self._take_at(index, size)

    def splits(self, block: Block, size: int) -> bool:
        return block.size - size >= self.least_remainder  # max_split_size plays no part here

    def grow(self, size: int) -> Block | None:
        block = self._place(size)
        if block is None or (not block.mapped and not self._map(block, min(block.size, size))):
            return None
        while block.size < size:  # the next one is unmapped; mapped, it swallows this one
            following = block.next
            if following is None or not self._map(following, min(size - block.size, following.size)):
                return None
            block = following
        self.unlist(block)
        return block

    def _place(self, size: int) -> Block | None:
        """Return the first block of the lowest run of free and unmapped ones that holds so many bytes."""
        for _, unmapped in self._unmapped:
            before = unmapped.previous
            start = unmapped if before is None or before.in_use else before
            block: Block | None = start
            bytes_left = size
            while block is not None and not block.in_use and bytes_left > 0:
                bytes_left -= block.size
                block = block.next
            if bytes_left <= 0:
                return start
        return None

    def _map(self, block: Block, size: int) -> bool:
        """Back the front of an unmapped block with pages, all or none, and coalesce it with what is free around."""
        mapped = -(-size // self._page) * self._page
        if not self.device.take(mapped):
            return False
        self.unlist(block)
        if mapped < block.size:
            rest = Block(self, block.address + mapped, block.size - mapped, mapped=False)
            rest.link(block, block.next)
            self.list_free(rest)
            block.size = mapped
        block.mapped = True
        self.device.note("segment_map", block.address, mapped)
        self.merge(block)
        self.list_free(block)
        return True

    def give_back_oversize(self, size: int) -> bool:  # noqa: ARG002 - only whole segments are given back so
        return False

    def give_back(self) -> None:
        for _, _, block in list(self.free):
            self._unmap(block)

    def _unmap(self, block: Block) -> None:
        """Give back the pages that lie wholly within a free block; its ends stay free blocks."""
        start = self._origin - (self._origin - block.address) // self._page * self._page
        stop = self._origin + (block.address + block.size - self._origin) // self._page * self._page
        if start >= stop:
            return
        self.unlist(block)
        if block.address < start:
            front = Block(self, block.address, start - block.address)
            front.link(block.previous, block)
            self.list_free(front)
        if stop < block.address + block.size:
            back = Block(self, stop, block.address + block.size - stop)
            back.link(block, block.next)
            self.list_free(back)
        block.address, block.size, block.mapped = start, stop - start, False
        self.device.give_back(block.size)
        self.device.note("segment_unmap", block.address, block.size)
        self.merge(block)
        self.list_free(block)

    def list_free(self, block: Block) -> None:
        if block.mapped:
            super().list_free(block)
        else:
            insort(self._unmapped, (block.address, block))

    def unlist(self, block: Block) -> None:
        if block.mapped:
            super().unlist(block)
        else:
            del self._unmapped[bisect_left(self._unmapped, (block.address,))]


def _room(block: Block) -> int:
    following = block.next
    return block.size + (following.size if following is not None and not following.mapped else 0)
