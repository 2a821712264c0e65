import pytest
from allocator_streams import MIB, stream

from fwplan.allocator.events import Event
from fwplan.allocator.replay import Replay, replay, smallest_capacity
from fwplan.allocator.settings import Settings
from fwplan.errors import FwplanError

EXPANDABLE = Settings(expandable_segments=True)
# 60 is cached when 80 comes; all that is alive at once is 80
RETRIED = stream(("a", 60 * MIB), "a", ("b", 80 * MIB), "b")
# 12 keep 40 from being given back when 60 comes; 12 + 60 are alive at once
FRAGMENTED = stream(("a", 40 * MIB), "a", ("b", 12 * MIB), ("c", 60 * MIB), "b", "c")


def test_the_figures_of_a_replay():
    assert replay(RETRIED) == Replay(
        fits=True,
        peak_allocated_bytes=80 * MIB,
        peak_allocated_at=2,
        peak_reserved_bytes=140 * MIB,
        peak_reserved_at=2,
        allocated_bytes=0,
        reserved_bytes=140 * MIB,
        segments=2,
        device_requests=2,
        retries=0,
        least_refused_bytes=None,
    )


def test_it_fits_in_less_than_it_takes_when_there_is_more():
    found = replay(RETRIED, capacity=100 * MIB)
    assert found.fits
    assert (found.peak_reserved_bytes, found.retries, found.least_refused_bytes) == (80 * MIB, 1, 140 * MIB)
    assert smallest_capacity(RETRIED) == 80 * MIB


def test_fragmentation_ends_a_run_with_memory_to_spare():
    found = replay(FRAGMENTED, capacity=90 * MIB)
    assert not found.fits
    assert found.failed_at == 3
    assert found.failed.requested_bytes + found.failed.allocated_bytes == 72 * MIB < 90 * MIB
    assert found.peak_reserved_at == 0
    assert smallest_capacity(FRAGMENTED) == 100 * MIB


def test_expandable_segments_save_it():
    assert replay(FRAGMENTED, capacity=90 * MIB, settings=EXPANDABLE).fits
    assert smallest_capacity(FRAGMENTED, settings=EXPANDABLE) == 80 * MIB  # 72 in pages of 20


def test_more_room_can_be_too_little():
    # 30 + 30 are reserved, of which "c" has one, when 50 comes. Under 102, 110 is refused: the spare 30 goes, "e"
    # gets 12 of its own, and 30 + 12 + 60 = 102 do. Under 110 the 50 is granted; "e" cuts the spare 30, which stays,
    # and 30 + 30 + 60 = 120 do not.
    first = [("a", 30 * MIB), ("b", 30 * MIB), "b", "a", ("c", 30 * MIB)]
    events = stream(*first, ("d", 50 * MIB), ("e", 12 * MIB), "d", ("f", 60 * MIB))
    fits = {capacity: replay(events, capacity=capacity * MIB).fits for capacity in range(100, 172, 2)}
    assert {capacity for capacity in fits if fits[capacity]} == {*range(102, 110, 2), *range(120, 172, 2)}
    assert smallest_capacity(events) == 120 * MIB


def test_an_empty_stream():
    found = replay([])
    assert found.fits
    assert found.peak_reserved_at is found.peak_allocated_at is None
    assert smallest_capacity([]) == 0


def test_a_stream_that_releases_what_it_does_not_have():
    with pytest.raises(FwplanError, match="tensor 3 is released but not alive"):
        replay([Event("release", 3, 5)])
