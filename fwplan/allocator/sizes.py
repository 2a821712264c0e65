"""How the allocator rounds: a request to the size of a block, a block to what is asked of the device. All in bytes.

Source: the constants of c10/core/AllocatorConfig.h, and round_size and get_allocation_size of
c10/cuda/CUDACachingAllocator.cpp, PyTorch 2.11 to 2.13.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.allocator.settings import Settings

GRAIN = 512  # every block is a multiple of it
SMALL_LIMIT = 2**20  # requests up to here are served from the small pool
SMALL_SEGMENT = 2 * 2**20  # what they share
LARGE_LIMIT = 10 * 2**20  # requests from here on have a segment of their own
LARGE_SEGMENT = 20 * 2**20  # what those in between share, unless large_segment_size says otherwise
LARGE_GRAIN = 2 * 2**20  # a segment of one's own is a multiple of it
POWER2_INTERVALS = 16  # 1 MiB, 2 MiB, ... 32 GiB


def rounded(requested: int, settings: Settings) -> int:
    """Return the bytes that a block needs to serve a request of so many: the next 512, or the next division."""
    table = settings.roundup_power2_divisions
    if table and requested >= GRAIN:
        divisions = table[min(max(requested.bit_length() - 21, 0), POWER2_INTERVALS - 1)]
        if divisions > 1 and requested > GRAIN * divisions:
            step = (1 << requested.bit_length() - 1) // divisions
            return -(-requested // step) * step
    return (requested + GRAIN - 1) & -GRAIN


def segment_bytes(size: int, settings: Settings) -> int:
    """Return what is asked of the device, with cudaMalloc, for a block of this size."""
    if size <= SMALL_LIMIT:
        return SMALL_SEGMENT
    if size < LARGE_LIMIT:
        return settings.large_segment_size
    return -(-size // LARGE_GRAIN) * LARGE_GRAIN
