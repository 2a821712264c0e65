"""Cases worked out by hand from the rules of expandable segments. Sizes in MiB; large pages are 20, small ones 2."""

import pytest
from allocator_streams import MIB, layout, run

from fwplan.allocator.caching import OutOfMemory
from fwplan.allocator.settings import DEFAULT, Settings

EXPANDABLE = Settings(expandable_segments=True)


def test_pages_are_mapped_as_needed():
    # 30 maps two pages; 10 fits what is left of them; 2 maps a third
    steps = [("a", 30 * MIB), ("b", 10 * MIB), ("c", 2 * MIB)]
    assert [run(*steps[:n], settings=EXPANDABLE).reserved_bytes / MIB for n in (1, 2, 3)] == [40, 40, 60]
    assert layout(run(*steps, settings=EXPANDABLE)) == [[30, 10, 2, -18]]


def test_small_pages_are_small():
    # 1 + 1 fill a page of 2
    assert layout(run(("a", MIB), ("b", MIB), ("c", 1), settings=EXPANDABLE)) == [[1, 1, 512 / MIB, -2 + 512 / MIB]]


def test_large_blocks_are_split_to_the_last_512_bytes():
    # without expandable segments, the half that 9.5 leaves of 10 would be kept
    steps = [("a", 10 * MIB), ("b", 10 * MIB), "a", ("c", 19 * MIB // 2)]
    assert layout(run(*steps, settings=EXPANDABLE)) == [[9.5, -0.5, 10]]
    assert layout(run(*steps, settings=DEFAULT)) == [[10], [10]]


def test_a_request_grows_into_the_pages_behind_a_hole():
    # 15 + 10 leave 15 of 40; 30 takes those 15 and one page more
    allocator = run(("a", 15 * MIB), ("b", 10 * MIB), ("c", 30 * MIB), settings=EXPANDABLE)
    assert layout(allocator) == [[15, 10, 30, -5]]


def test_a_hole_is_preferred_to_the_end_that_can_grow():
    # holes of 10 and, at the end, 8: 5 would fit the 8 tighter, but that end counts with all it can grow to
    steps = [("a", 10 * MIB), ("b", 22 * MIB), "a", ("c", 5 * MIB)]
    assert layout(run(*steps, settings=EXPANDABLE)) == [[5, -5, 22, -8]]


def test_whole_pages_are_given_back_and_holes_are_filled_again():
    # a's 30 hold one whole page, and half of the next, which b has the rest of
    allocator = run(("a", 30 * MIB), ("b", 30 * MIB), "a", settings=EXPANDABLE)
    allocator.empty_cache()
    assert layout(allocator) == [[-10, 30]]
    # 25 maps the first page again, and takes it with the 10 behind; 26 then goes to the end, where 30 to 80 is free
    allocator.allocate(8, 25 * MIB)
    assert layout(allocator) == [[25, -5, 30]]
    assert allocator.reserved_bytes == 60 * MIB
    allocator.allocate(9, 26 * MIB)
    assert layout(allocator) == [[25, -5, 30, 26, -14]]


def test_pages_are_given_back_before_giving_up():
    # 60 mapped, and 2 wanted for a small tensor: the one whole page that is free goes
    steps = [("a", 30 * MIB), ("b", 30 * MIB), "a", ("s", 1)]
    allocator = run(*steps, capacity=60 * MIB, settings=EXPANDABLE)
    assert layout(allocator) == [[512 / MIB, -2 + 512 / MIB], [-10, 30]]
    assert (allocator.reserved_bytes, allocator.peak_reserved_bytes) == (42 * MIB, 60 * MIB)
    assert allocator.retries == 1


def test_it_saves_a_run_that_fragmentation_ends():
    # by segments: 40, of which b keeps 12, + 60 > 90; by pages: the 28 behind b and two pages more, 80 in all
    steps = [("a", 40 * MIB), "a", ("b", 12 * MIB), ("c", 60 * MIB)]
    with pytest.raises(OutOfMemory):
        run(*steps, capacity=90 * MIB, settings=DEFAULT)
    assert layout(run(*steps, capacity=90 * MIB, settings=EXPANDABLE)) == [[12, 60, -8]]


def test_what_is_given_back_in_vain_stays_given_back():
    # 45 does not fit before b's 20, and behind it takes 60 more: 22 + 60 > 62
    allocator = run(("a", 40 * MIB), ("b", 20 * MIB), "a", ("s", 1), capacity=62 * MIB, settings=EXPANDABLE)
    with pytest.raises(OutOfMemory) as caught:
        allocator.allocate(9, 45 * MIB)
    assert caught.value.shortage == (45 * MIB, 20 * MIB + 512, 22 * MIB, 40 * MIB, 0)


def test_more_than_there_are_addresses_for():
    with pytest.raises(OutOfMemory):
        run(("a", 2**60), settings=EXPANDABLE)
