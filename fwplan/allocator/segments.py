"""The default source of a pool's memory: segments from cudaMalloc, given back only when nothing in them is used."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from fwplan.allocator.pool import FIRST_ADDRESS, UNLIMITED, Block, Pool
from fwplan.allocator.sizes import segment_bytes

if TYPE_CHECKING:
    from fwplan.allocator.device import DeviceMemory
    from fwplan.allocator.settings import Settings


class SegmentPool(Pool):
    """Blocks cut from separate segments.

    A new segment lies above all earlier ones. Where the driver really puts it is unknown and may be below, which only
    decides between free blocks of equal size.
    """

    def __init__(self, device: DeviceMemory, settings: Settings, *, small: bool) -> None:
        super().__init__(device, settings, small=small)
        self.settings = settings
        self._next_address = FIRST_ADDRESS[small]

    def grow(self, size: int) -> Block | None:
        segment = segment_bytes(size, self.settings)
        if not self.device.take(segment):
            return None
        block = Block(self, self._next_address, segment)
        self._next_address += segment
        self.device.note("segment_alloc", block.address, segment)
        return block

    def give_back_oversize(self, size: int) -> bool:
        if self.max_split == UNLIMITED:
            return False
        wanted = max(size, self.max_split)
        index = bisect_left(self.free, (wanted,))
        if index < len(self.free):  # one that is large enough is enough
            self._free_segment(self.free.pop(index)[2])
            return True
        given = 0
        while given < wanted and self.free and self.free[-1][0] >= self.max_split:
            given += self.free[-1][0]
            self._free_segment(self.free.pop()[2])
        return given >= wanted

    def give_back(self) -> None:
        cached, self.free = self.free, []
        for entry in cached:
            block = entry[2]
            if block.previous is None and block.next is None:
                self._free_segment(block)
            else:
                self.free.append(entry)

    def _free_segment(self, block: Block) -> None:
        self.device.give_back(block.size)
        self.device.note("segment_free", block.address, block.size)
