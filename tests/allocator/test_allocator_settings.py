import pytest

from fwplan.allocator.settings import Settings
from fwplan.allocator.sizes import rounded, segment_bytes
from fwplan.errors import FwplanError

KIB, MIB = 2**10, 2**20

ACCEPTED = {
    "": Settings(),
    "expandable_segments:True": Settings(expandable_segments=True),
    "expandable_segments:True,expandable_segments:False": Settings(),
    "expandable_segments:True,max_split_size_mb:128": Settings(expandable_segments=True, max_split_size=128 * MIB),
    " max_split_size_mb : 30 , ": Settings(max_split_size=30 * MIB),
    "large_segment_size_mb:11": Settings(large_segment_size=11 * MIB),
    "large_segment_size_mb:40,max_split_size_mb:50,max_non_split_rounding_mb:60": Settings(
        large_segment_size=40 * MIB, max_split_size=50 * MIB, max_non_split_rounding=60 * MIB
    ),
    "roundup_power2_divisions:4": Settings(roundup_power2_divisions=(4,) * 16),
    "roundup_power2_divisions:[64:8,256:4,>:1],max_split_size_mb:30": Settings(
        roundup_power2_divisions=(8, 8, 8, 8, 8, 8, 8, 0, 4, 1, 1, 1, 1, 1, 1, 1), max_split_size=30 * MIB
    ),
    "roundup_power2_divisions:[>:2]": Settings(roundup_power2_divisions=(2,) * 16),
    "roundup_power2_divisions:[65536:0]": Settings(roundup_power2_divisions=(0,) * 16),
    "backend:native,pinned_use_background_threads:True": Settings(),
}
REJECTED = [
    "expandable_segments:true",
    "max_split_size_mb:19",
    "max_split_size_mb:abc",
    "max_split_size_mb",
    "max_split_size_mb=30",
    "large_segment_size_mb:10",
    "max_non_split_rounding_mb:19",
    "large_segment_size_mb:40,max_split_size_mb:21",
    "roundup_power2_divisions:3",
    "roundup_power2_divisions:0",
    "roundup_power2_divisions:[3:1]",
    "roundup_power2_divisions:[256:3]",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_the_string_means(text):
    assert Settings.parse(text) == ACCEPTED[text]


@pytest.mark.parametrize("text", REJECTED)
def test_what_is_refused(text):
    with pytest.raises(FwplanError) as caught:
        Settings.parse(text)
    assert caught.value.hint


@pytest.mark.parametrize("text", [*ACCEPTED, *REJECTED])
def test_pytorch_accepts_and_refuses_the_same(text):
    torch = pytest.importorskip("torch")
    try:
        torch._C._accelerator_setAllocatorSettings("large_segment_size_mb:20")  # which outlasts the next call
        torch._C._accelerator_setAllocatorSettings(text)
        accepted = True
    except (ValueError, RuntimeError):
        accepted = False
    torch._C._accelerator_setAllocatorSettings("large_segment_size_mb:20,expandable_segments:False")
    assert accepted == (text in ACCEPTED)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("colour:blue", "unknown allocator setting colour"),
        ("garbage_collection_threshold:0.8", "garbage_collection_threshold is not modelled"),
        ("per_process_memory_fraction:0.5", "per_process_memory_fraction is not modelled"),
        ("backend:cudaMallocAsync", "backend cudaMallocAsync is not modelled"),
    ],
)
def test_what_pytorch_knows_and_this_does_not(text, message):
    with pytest.raises(FwplanError, match=message):
        Settings.parse(text)


def test_a_table_of_another_length():
    with pytest.raises(FwplanError, match="has 3 entries"):
        Settings(roundup_power2_divisions=(4, 4, 4))


@pytest.mark.parametrize(
    ("requested", "divisions", "size"),
    [
        (1200 * KIB, 4, 1280 * KIB),  # 1024, 1280, 1536, 1792 are the steps: PyTorch's own example
        (1280 * KIB, 4, 1280 * KIB),
        (1793 * KIB, 4, 2048 * KIB),
        (2048, 4, 2048),  # up to 4 * 512 bytes, the usual rounding
        (2049, 4, 2560),  # then steps of 2048 / 4
        (2049, 1, 2560),
        (100, 4, 512),
    ],
)
def test_rounding_to_divisions_of_a_power_of_two(requested, divisions, size):
    assert rounded(requested, Settings(roundup_power2_divisions=(divisions,) * 16)) == size


def test_divisions_by_size():
    settings = Settings.parse("roundup_power2_divisions:[256:2,512:4,>:0]")
    assert rounded(300 * MIB, settings) == 384 * MIB  # 256 and 128 are the steps up to 512
    assert rounded(600 * MIB, settings) == 640 * MIB  # 512 and 128
    assert rounded(1025 * MIB, settings) == 1025 * MIB
    assert rounded(2**40 + 1, settings) == 2**40 + 512  # beyond the table: its last entry


def test_a_segment_by_the_size_of_the_block():
    sizes = [512, MIB, MIB + 512, 10 * MIB - 512, 10 * MIB, 10 * MIB + 512]
    assert [segment_bytes(size, Settings()) // MIB for size in sizes] == [2, 2, 20, 20, 10, 12]
