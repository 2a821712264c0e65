"""PyTorch's CUDA caching allocator: what it reserves for the tensors that are alive, and when it gives up."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fwplan.allocator.device import DeviceMemory
from fwplan.allocator.expandable import ExpandablePool
from fwplan.allocator.segments import SegmentPool
from fwplan.allocator.settings import DEFAULT, Settings
from fwplan.allocator.sizes import SMALL_LIMIT, rounded
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from fwplan.allocator.device import Record
    from fwplan.allocator.pool import Block, Pool


class Shortage(NamedTuple):
    """The figures of an out-of-memory error, in bytes, after all that can be given back was given back."""

    requested_bytes: int  # by the tensor, before rounding
    allocated_bytes: int
    reserved_bytes: int
    free_bytes: int  # of the capacity, not reserved
    largest_free_block: int  # of the pool that would have served it


class OutOfMemory(Exception):  # noqa: N818 - PyTorch's name for it, less "Error"
    """A request cannot be served, even after giving cached blocks back. `shortage` has the figures."""

    def __init__(self, shortage: Shortage) -> None:
        super().__init__(
            f"{shortage.requested_bytes} bytes requested, {shortage.free_bytes} free, {shortage.reserved_bytes} "
            f"reserved, of which {shortage.allocated_bytes} are allocated"
        )
        self.shortage = shortage


class Segment(NamedTuple):
    """A run of addresses backed by device memory: a segment, or a mapped stretch of an expandable one."""

    pool: Pool
    blocks: list[Block]  # in the order of their addresses, without gaps


class CachingAllocator:
    """The allocator of one device, with the rules of PyTorch 2.11 to 2.13.

    A request is rounded up, and served by the smallest free block of its pool that is large enough; what is left of
    that block becomes a free block if it is worth it, and otherwise counts as allocated. Where there is none, the
    device is asked for a segment. If it refuses, cached blocks are given back, and it is asked again. A released
    block is coalesced with its free neighbours and kept.

    Source: c10/cuda/CUDACachingAllocator.cpp. Left out: streams other than the current one (a released block is free
    at once, as if record_stream was never called), private pools (CUDA graphs, MemPool), memory that peers map,
    memory fractions and the garbage collection that needs one, and what else takes memory from the device
    (the context, NCCL, other processes: subtract it from the capacity). The driver grants every request that the
    capacity has room for: it works in pages of 2 MiB, and so do segments.
    """

    def __init__(
        self, capacity: int | None = None, settings: Settings = DEFAULT, *, record: Record | None = None
    ) -> None:
        self._device = DeviceMemory(capacity, record)
        self._settings = settings
        kind = ExpandablePool if settings.expandable_segments else SegmentPool
        self._small: Pool = kind(self._device, settings, small=True)
        self._large: Pool = kind(self._device, settings, small=False)
        self._blocks: dict[int, Block | None] = {}  # by tensor; None for one of zero bytes
        self._allocated = 0
        self._peak_allocated = 0
        self._retries = 0

    @property
    def allocated_bytes(self) -> int:
        """Bytes of the blocks in use: more than the tensors' own, by the rounding."""
        return self._allocated

    @property
    def peak_allocated_bytes(self) -> int:
        """The most that was allocated at once: torch.cuda.max_memory_allocated()."""
        return self._peak_allocated

    @property
    def reserved_bytes(self) -> int:
        """Bytes held from the device, in use or cached."""
        return self._device.reserved

    @property
    def peak_reserved_bytes(self) -> int:
        """The most that was reserved at once: torch.cuda.max_memory_reserved()."""
        return self._device.peak_reserved

    @property
    def retries(self) -> int:
        """How often the cache was given back because the device refused: num_alloc_retries. Each stalls the device."""
        return self._retries

    @property
    def device_requests(self) -> int:
        """How often the device granted memory: num_device_alloc. Each is slow."""
        return self._device.requests

    @property
    def least_refused_bytes(self) -> int | None:
        """The least capacity that would have granted some request that was refused; None: none was."""
        return self._device.least_refused

    def allocate(self, tensor: int, bytes: int) -> None:  # noqa: A002 - the word for it everywhere here
        """Give a tensor a block.

        Raises:
            OutOfMemory: the capacity does not suffice. Nothing is allocated, but the cache was given back.
            FwplanError: this tensor is alive already, or the size is negative.
        """
        if tensor in self._blocks or bytes < 0:
            raise FwplanError(
                f"tensor {tensor} of {bytes} bytes is allocated twice or has a negative size",
                hint="give each allocation of a stream its own number",
            )
        if bytes == 0:  # a null pointer
            self._blocks[tensor] = None
            return
        size = rounded(bytes, self._settings)
        pool = self._small if size <= SMALL_LIMIT else self._large
        found = pool.take(size)
        if found is None:
            found = self._grow(pool, size, bytes)
        block = pool.cut(found, size)
        block.in_use = True
        block.requested = bytes
        self._blocks[tensor] = block
        self._allocated += block.size
        self._peak_allocated = max(self._peak_allocated, self._allocated)
        self._device.note("alloc", block.address, bytes)

    def release(self, tensor: int) -> None:
        """Take a tensor's block back into the cache.

        Raises:
            FwplanError: this tensor is not alive.
        """
        if tensor not in self._blocks:
            raise FwplanError(f"tensor {tensor} is released but not alive", hint="release what was allocated, once")
        block = self._blocks.pop(tensor)
        if block is None:
            return
        self._allocated -= block.size
        self._device.note("free_requested", block.address, block.requested)
        self._device.note("free_completed", block.address, block.requested)
        block.pool.release(block)

    def empty_cache(self) -> None:
        """Give all memory back that no tensor keeps from going: torch.cuda.empty_cache()."""
        self._large.give_back()
        self._small.give_back()

    def segments(self) -> list[Segment]:
        """Return the memory that is reserved, in the order of addresses."""
        blocks = [entry[2] for pool in (self._small, self._large) for entry in pool.free]
        blocks += [block for block in self._blocks.values() if block is not None]
        heads = [block for block in blocks if block.previous is None or not block.previous.mapped]
        return [Segment(head.pool, _stretch(head)) for head in sorted(heads, key=lambda block: block.address)]

    def _grow(self, pool: Pool, size: int, requested: int) -> Block:
        """Return a block from the device, which is asked once more after each way of giving cached blocks back."""
        block = pool.grow(size)
        if block is None and pool.give_back_oversize(size):
            block = pool.grow(size)
        if block is None:
            self.empty_cache()
            self._retries += 1
            block = pool.grow(size)
        if block is None:
            free = 0 if self._device.capacity is None else self._device.capacity - self._device.reserved
            largest = pool.free[-1][0] if pool.free else 0
            raise OutOfMemory(Shortage(requested, self._allocated, self._device.reserved, free, largest))
        return block


def _stretch(head: Block) -> list[Block]:
    blocks = []
    block: Block | None = head
    while block is not None and block.mapped:
        blocks.append(block)
        block = block.next
    return blocks
