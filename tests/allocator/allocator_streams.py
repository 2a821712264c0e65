"""Streams of events for the allocator's tests, written as what is asked for, and a check of its inner state."""

from itertools import pairwise

from hypothesis import strategies as st

from fwplan.allocator.caching import CachingAllocator
from fwplan.allocator.events import Event

KIB, MIB = 2**10, 2**20


def stream(*steps):
    """Return events from ("a", 3 * MIB), which allocates, and "a", which releases."""
    events, alive = [], {}
    for step in steps:
        if isinstance(step, str):
            events.append(Event("release", *alive.pop(step), step))
        else:
            name, size = step
            alive[name] = (len(events), size)
            events.append(Event("allocate", *alive[name], name))
    return events


def run(*steps, capacity=None, settings):
    """Return an allocator that has gone through the steps."""
    allocator = CachingAllocator(capacity, settings)
    for action, tensor, size, _ in stream(*steps):
        allocator.allocate(tensor, size) if action == "allocate" else allocator.release(tensor)
    return allocator


def layout(allocator):
    """Return the segments by address, each a list of block sizes in MiB, negative where a block is free."""
    return [
        [block.size / MIB if block.in_use else -block.size / MIB for block in segment.blocks]
        for segment in allocator.segments()
    ]


SIZES = st.one_of(
    st.integers(0, 4 * KIB),
    st.integers(1, 2 * MIB),
    st.integers(1 * MIB, 12 * MIB),
    st.integers(9 * MIB, 120 * MIB),
    st.sampled_from([512, MIB - 1, MIB, MIB + 1, 2 * MIB, 10 * MIB - 512, 10 * MIB, 11 * MIB, 20 * MIB, 40 * MIB]),
)


@st.composite
def streams(draw, most=60):
    """Any stream: allocations of sizes around every threshold, releases in any order, some tensors left alive."""
    events, alive = [], []
    for size in draw(st.lists(st.one_of(SIZES, st.just(-1), st.just(-1)), max_size=most)):
        if size < 0:
            if alive:
                events.append(Event("release", *alive.pop(draw(st.integers(0, len(alive) - 1)))))
        else:
            alive.append((len(events), size))
            events.append(Event("allocate", *alive[-1]))
    return events


def check(allocator):
    """Assert that blocks neither overlap nor leave gaps, that links agree, and that the sums are the sums."""
    segments = allocator.segments()
    ends = [(s.blocks[0].address, s.blocks[-1].address + s.blocks[-1].size) for s in segments]
    assert all(end <= start for (_, end), (start, _) in pairwise(ends))
    for segment in segments:
        for left, right in pairwise(segment.blocks):
            assert left.address + left.size == right.address
            assert left.next is right
            assert right.previous is left
            assert left.in_use or right.in_use  # free neighbours are coalesced
    blocks = [block for segment in segments for block in segment.blocks]
    assert all(block.size > 0 and block.size % 512 == 0 for block in blocks)
    assert sum(block.size for block in blocks) == allocator.reserved_bytes
    assert sum(block.size for block in blocks if block.in_use) == allocator.allocated_bytes
    assert allocator.allocated_bytes <= allocator.reserved_bytes <= allocator.peak_reserved_bytes
