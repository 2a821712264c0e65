"""Cases worked out by hand from the rules. Each comment is the derivation; sizes in MiB unless said otherwise."""

import pytest
from allocator_streams import KIB, MIB, layout, run

from fwplan.allocator.caching import CachingAllocator, OutOfMemory
from fwplan.allocator.settings import DEFAULT, Settings
from fwplan.errors import FwplanError

OVERSIZE = Settings(max_split_size=100 * MIB)


@pytest.mark.parametrize(
    ("requested", "allocated", "reserved"),
    [
        (1, 512, 2 * MIB),  # up to 512 bytes; small, so from a segment of 2
        (513, 1024, 2 * MIB),
        (MIB, MIB, 2 * MIB),  # 1 is still small
        (MIB + 1, MIB + 512, 20 * MIB),  # large, below 10: from a segment of 20, of which the rest stays free
        (10 * MIB - 512, 10 * MIB - 512, 20 * MIB),
        (10 * MIB - 1, 10 * MIB, 10 * MIB),  # rounded first: 10 is no longer below 10, so a segment of its own
        (
            10 * MIB + 512,
            10 * MIB + 512,
            12 * MIB,
        ),  # up to 12; the rest, 2 less 512 bytes, is more than 1 and split off
        (11 * MIB, 12 * MIB, 12 * MIB),  # the rest is 1, not more: kept, and counted as allocated
        (11 * MIB - 512, 11 * MIB - 512, 12 * MIB),  # the rest is 1 and 512 bytes: split off
        (0, 0, 0),  # a null pointer
    ],
)
def test_one_request(requested, allocated, reserved):
    allocator = run(("a", requested), settings=DEFAULT)
    assert (allocator.allocated_bytes, allocator.reserved_bytes) == (allocated, reserved)


def test_small_requests_share_segments():
    # 0.75 + 0.75 leave 0.5 of 2: a third opens a second segment, 0.5 goes into the first, whose hole is the tightest
    steps = [("a", 768 * KIB), ("b", 768 * KIB), ("c", 768 * KIB), ("d", 512 * KIB)]
    assert layout(run(*steps, settings=DEFAULT)) == [[0.75, 0.75, 0.5], [0.75, -1.25]]


def test_the_pools_do_not_lend_to_each_other():
    # the 18 free in the large segment do not serve 4 KiB
    allocator = run(("a", 2 * MIB), ("b", 4 * KIB), settings=DEFAULT)
    assert allocator.reserved_bytes == 22 * MIB


def test_the_smallest_block_that_is_large_enough():
    # 16, 14, 12 cached; 13 goes into 14, and the rest, 1, is not split off
    steps = [("a", 16 * MIB), ("b", 14 * MIB), ("c", 12 * MIB), "a", "b", "c", ("d", 13 * MIB)]
    assert layout(run(*steps, settings=DEFAULT)) == [[-16], [14], [-12]]


def test_of_equal_blocks_the_lower_one():
    steps = [("a", 12 * MIB), ("b", 12 * MIB), "b", "a", ("c", 12 * MIB)]
    assert layout(run(*steps, settings=DEFAULT)) == [[12], [-12]]


def test_released_neighbours_coalesce():
    # three of 5 in one segment of 20: without b, 5 + 5 + 10 are one hole
    steps = [("a", 5 * MIB), ("b", 5 * MIB), ("c", 5 * MIB), "a", "c"]
    assert layout(run(*steps, settings=DEFAULT)) == [[-5, 5, -10]]
    assert layout(run(*steps, "b", settings=DEFAULT)) == [[-20]]


def test_emptying_the_cache_spares_segments_in_use():
    # of 20 + 30 + 2, only the 30 is free as a whole
    allocator = run(("a", 5 * MIB), ("b", 30 * MIB), ("c", 4 * KIB), "b", settings=DEFAULT)
    assert allocator.reserved_bytes == 52 * MIB
    allocator.empty_cache()
    assert layout(allocator) == [[4 / KIB, -2 + 4 / KIB], [5, -15]]


def test_cached_segments_are_given_back_before_giving_up():
    # 60 cached and 80 asked for: 140 > 100, so the 60 goes; so does a small segment
    allocator = run(("a", 60 * MIB), ("s", 1), "a", "s", ("b", 80 * MIB), capacity=100 * MIB, settings=DEFAULT)
    assert allocator.reserved_bytes == allocator.peak_reserved_bytes == 80 * MIB
    assert allocator.retries == 1
    assert allocator.least_refused_bytes == 142 * MIB


def test_a_segment_in_part_use_cannot_be_given_back():
    # b holds 12 of a's 40: 40 + 60 > 90, although 12 + 60 < 90
    allocator = run(("a", 40 * MIB), "a", ("b", 12 * MIB), capacity=90 * MIB, settings=DEFAULT)
    with pytest.raises(OutOfMemory, match="62914560 bytes requested") as caught:
        allocator.allocate(9, 60 * MIB)
    assert caught.value.shortage == (60 * MIB, 12 * MIB, 40 * MIB, 50 * MIB, 28 * MIB)
    allocator.allocate(9, 28 * MIB)  # and it goes on
    assert layout(allocator) == [[12, 28]]


def test_oversize_blocks_are_not_lent_to_smaller_requests():
    # 200 is at or over the limit of 100: 50 gets a segment of its own
    allocator = run(("a", 200 * MIB), "a", ("b", 50 * MIB), settings=OVERSIZE)
    assert layout(allocator) == [[-200], [50]]
    # not even where little would be wasted
    assert layout(run(("a", 110 * MIB), "a", ("b", 96 * MIB), settings=OVERSIZE)) == [[-110], [96]]


def test_oversize_blocks_serve_what_is_almost_as_large_and_whole():
    # 200 < 185 + 20: served, and not split; 200 is not < 180 + 20: a segment of 180
    assert layout(run(("a", 200 * MIB), "a", ("b", 185 * MIB), settings=OVERSIZE)) == [[200]]
    assert layout(run(("a", 200 * MIB), "a", ("b", 180 * MIB), settings=OVERSIZE)) == [[-200], [180]]
    loose = Settings(max_split_size=100 * MIB, max_non_split_rounding=21 * MIB)
    assert layout(run(("a", 200 * MIB), "a", ("b", 180 * MIB), settings=loose)) == [[200]]


def test_one_oversize_block_is_given_back_first():
    # 150 + 170 + 40 cached, 120 wanted of 400 - 360: the 150 goes, the tightest that is large enough
    steps = [("a", 150 * MIB), ("b", 170 * MIB), ("c", 40 * MIB), "a", "b", "c", ("d", 120 * MIB)]
    allocator = run(*steps, capacity=400 * MIB, settings=OVERSIZE)
    assert layout(allocator) == [[-170], [-40], [120]]
    assert allocator.retries == 0


def test_several_oversize_blocks_are_given_back_from_the_largest():
    # 130 + 120 + 40 cached, none of 200: the 130 and then the 120 go, 250 in all
    steps = [("a", 120 * MIB), ("b", 130 * MIB), ("c", 40 * MIB), "a", "b", "c", ("d", 200 * MIB)]
    allocator = run(*steps, capacity=300 * MIB, settings=OVERSIZE)
    assert layout(allocator) == [[-40], [200]]
    assert allocator.retries == 0


def test_too_few_oversize_blocks_empty_the_cache():
    # 200 + 40 cached; 250 wanted, the 200 alone is oversize and goes; still 40 + 250 <= 300 is not tried before a retry
    steps = [("a", 200 * MIB), ("b", 40 * MIB), "a", "b", ("c", 250 * MIB)]
    allocator = run(*steps, capacity=300 * MIB, settings=OVERSIZE)
    assert layout(allocator) == [[250]]
    assert allocator.retries == 1


def test_a_larger_shared_segment():
    assert run(("a", 2 * MIB), settings=Settings(large_segment_size=12 * MIB)).reserved_bytes == 12 * MIB


def test_a_stream_that_contradicts_itself():
    allocator = CachingAllocator()
    allocator.allocate(1, 5)
    with pytest.raises(FwplanError, match="tensor 1 of 5 bytes is allocated twice"):
        allocator.allocate(1, 5)
    with pytest.raises(FwplanError, match="negative"):
        allocator.allocate(2, -1)
    allocator.release(1)
    with pytest.raises(FwplanError, match="tensor 1 is released but not alive"):
        allocator.release(1)
