"""What holds for every stream."""

import pytest
from allocator_oracle import Oracle
from allocator_streams import MIB, check, streams
from hypothesis import given
from hypothesis import strategies as st

from fwplan.allocator.caching import CachingAllocator, OutOfMemory
from fwplan.allocator.replay import replay, smallest_capacity
from fwplan.allocator.settings import Settings

ALL = [
    Settings(),
    Settings(max_split_size=20 * MIB),
    Settings(max_split_size=40 * MIB, max_non_split_rounding=60 * MIB),
    Settings(large_segment_size=11 * MIB, roundup_power2_divisions=(4,) * 16),
    Settings(expandable_segments=True),
    Settings(expandable_segments=True, max_split_size=40 * MIB),
]
CAPACITIES = st.one_of(st.none(), st.integers(0, 300).map(lambda n: n * 2 * MIB))
every_setting = pytest.mark.parametrize("settings", ALL)


def _steps(allocator, events):
    """Go through a stream, a request that cannot be served being skipped, and yield after each event."""
    dead = set()
    for event in events:
        if event.action == "release":
            if event.tensor not in dead:
                allocator.release(event.tensor)
        else:
            try:
                allocator.allocate(event.tensor, event.bytes)
            except OutOfMemory:
                dead.add(event.tensor)
        yield event


@every_setting
@given(events=streams(), capacity=CAPACITIES, emptied=st.integers(1, 12))
def test_blocks_never_overlap_and_the_capacity_is_kept(settings, events, capacity, emptied):
    allocator = CachingAllocator(capacity, settings)
    for count, _ in enumerate(_steps(allocator, events), 1):
        check(allocator)
        if count % emptied == 0:
            allocator.empty_cache()
            check(allocator)
        assert capacity is None or allocator.reserved_bytes <= capacity


@pytest.mark.parametrize("settings", ALL[:1])
@given(events=streams(), capacity=CAPACITIES)
def test_it_does_what_a_naive_reading_of_the_rules_does(settings, events, capacity):
    fast, slow = CachingAllocator(capacity, settings), Oracle(capacity)
    for event in _steps(fast, events):
        slow.step(event)
        assert (fast.allocated_bytes, fast.reserved_bytes) == (slow.allocated, slow.reserved)


@every_setting
@given(events=streams())
def test_all_comes_back(settings, events):
    allocator = CachingAllocator(None, settings)
    for _ in _steps(allocator, events):
        pass
    released = {event.tensor for event in events if event.action == "release"}
    for event in events:
        if event.action == "allocate" and event.tensor not in released:
            allocator.release(event.tensor)
    assert allocator.allocated_bytes == 0
    allocator.empty_cache()
    assert allocator.reserved_bytes == 0
    assert allocator.segments() == []


@every_setting
@given(events=streams(), spare=st.integers(0, 100 * MIB))
def test_the_unconstrained_peak_is_enough_and_changes_nothing(settings, events, spare):
    free = replay(events, settings=settings)
    assert free.fits
    assert replay(events, capacity=free.peak_reserved_bytes + spare, settings=settings) == free


@every_setting
@given(events=streams(), capacity=st.integers(0, 300).map(lambda n: n * 2 * MIB))
def test_a_replay_is_the_same_from_its_peak_to_its_least_refusal(settings, events, capacity):
    found = replay(events, capacity=capacity, settings=settings)
    assert found.fits == (found.failed is None) == (found.failed_at is None)
    assert found.peak_allocated_bytes <= found.peak_reserved_bytes <= capacity
    if found.failed is not None:
        assert events[found.failed_at].bytes == found.failed.requested_bytes
        assert found.failed.free_bytes == capacity - found.failed.reserved_bytes
        assert found.failed.allocated_bytes <= found.failed.reserved_bytes
        again = replay(events, capacity=found.least_refused_bytes - 1, settings=settings)
        assert again.failed_at == found.failed_at
        assert again.peak_reserved_bytes == found.peak_reserved_bytes
        return
    assert replay(events, capacity=found.peak_reserved_bytes, settings=settings) == found
    if found.least_refused_bytes is not None:
        assert replay(events, capacity=found.least_refused_bytes - 1, settings=settings) == found


@every_setting
@given(events=streams())
def test_the_smallest_capacity_fits_and_less_does_not(settings, events):
    least = smallest_capacity(events, settings=settings)
    assert least % (2 * MIB) == 0
    assert least - 2 * MIB < replay(events, settings=settings).peak_reserved_bytes or least == 0
    assert replay(events, capacity=least, settings=settings).fits
    if least:
        assert not replay(events, capacity=least - 2 * MIB, settings=settings).fits


@given(events=streams())
def test_expandable_segments_waste_at_most_two_pages_a_tensor_once_the_cache_is_empty(events):
    # a mapped page holds part of some tensor, and a tensor shares at most its first and its last page with others
    allocator = CachingAllocator(None, Settings(expandable_segments=True))
    alive = 0
    for event in _steps(allocator, events):
        alive += 1 if event.action == "allocate" else -1
        allocator.empty_cache()
        assert allocator.reserved_bytes - allocator.allocated_bytes <= alive * 2 * 20 * MIB
