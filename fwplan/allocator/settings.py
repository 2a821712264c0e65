"""What PYTORCH_ALLOC_CONF (formerly PYTORCH_CUDA_ALLOC_CONF) can change about how device memory is cut up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from fwplan.allocator.sizes import LARGE_LIMIT, LARGE_SEGMENT, POWER2_INTERVALS
from fwplan.errors import FwplanError

MIB = 2**20

_WITHOUT_EFFECT = {  # on how much memory is reserved: they change speed, or host memory
    "graph_capture_record_stream_reuse",
    "pinned_free_catch_all",
    "pinned_max_cached_size_mb",
    "pinned_max_round_threshold_mb",
    "pinned_num_register_threads",
    "pinned_reserve_segment_size_mb",
    "pinned_use_background_threads",
    "pinned_use_cuda_host_register",
    "release_lock_on_cudamalloc",
    "throw_on_cudamalloc_oom",
}
_NOT_MODELLED = {
    "garbage_collection_threshold": "leave it out: without a memory fraction it changes nothing in PyTorch either",
    "per_process_memory_fraction": "leave it out, and give that fraction of the card as the capacity",
}


@dataclass(frozen=True)
class Settings:
    """The allocator's options, in bytes, with PyTorch's defaults.

    Attributes:
        expandable_segments: one range of addresses per pool that grows by pages, in place of separate segments.
        max_split_size: blocks of this size and above are never split nor lent to smaller requests; None: no limit.
        max_non_split_rounding: how much larger than such a request the block may be that serves it.
        large_segment_size: what requests of more than 1 and less than 10 MiB share; with expandable segments, a page.
        roundup_power2_divisions: per power of two from 1 MiB to 32 GiB and above, into how many steps requests are
            rounded; 0 or 1: to 512 bytes. Empty: to 512 bytes everywhere.

    Source: c10/core/AllocatorConfig.h and .cpp of PyTorch 2.11 to 2.13; tests hold parse() against the real parser.
    """

    expandable_segments: bool = False
    max_split_size: int | None = None
    max_non_split_rounding: int = LARGE_SEGMENT
    large_segment_size: int = LARGE_SEGMENT
    roundup_power2_divisions: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in ("max_split_size", "max_non_split_rounding", "large_segment_size"):
            size = getattr(self, name)
            least = LARGE_LIMIT + MIB if name == "large_segment_size" else self.large_segment_size
            if size is not None and (size < least or size % MIB):
                raise FwplanError(
                    f"{name} is {size} bytes", hint=f"PyTorch takes whole MiB, {least // MIB} or more, for this setting"
                )
        if len(self.roundup_power2_divisions) not in {0, POWER2_INTERVALS}:
            raise FwplanError(
                f"roundup_power2_divisions has {len(self.roundup_power2_divisions)} entries",
                hint=f"give {POWER2_INTERVALS}, for 1 MiB, 2 MiB, ... 32 GiB, or none",
            )

    @classmethod
    def parse(cls, text: str) -> Settings:
        """Return the settings that a value of PYTORCH_ALLOC_CONF means, such as "expandable_segments:True".

        Options that change speed or host memory only are accepted and dropped.

        Raises:
            FwplanError: an option is unknown, malformed, or changes memory in a way that is not modelled.
        """
        fields: dict[str, Any] = {}
        for key, value in _pairs(text):
            if key == "expandable_segments":
                fields[key] = _boolean(key, value)
            elif key in {"max_split_size_mb", "large_segment_size_mb"}:
                fields[key.replace("_mb", "")] = _natural(key, value) * MIB
            elif key == "max_non_split_rounding_mb":
                fields["max_non_split_rounding"] = _natural(key, value) * MIB
            elif key == "roundup_power2_divisions":
                fields[key] = _divisions(key, value)
            elif key in _NOT_MODELLED:
                raise FwplanError(f"allocator setting {key} is not modelled", hint=_NOT_MODELLED[key])
            elif key == "backend" and value != "native":
                raise FwplanError(f"allocator backend {value} is not modelled", hint="only native is")
            elif key not in _WITHOUT_EFFECT | {"backend"}:
                raise FwplanError(f"unknown allocator setting {key}", hint=f"known: {', '.join(KNOWN)}")
        return cls(**fields)


DEFAULT = Settings()
KNOWN = (
    "expandable_segments", "large_segment_size_mb", "max_non_split_rounding_mb", "max_split_size_mb",
    "roundup_power2_divisions",
)  # fmt: skip


def _pairs(text: str) -> list[tuple[str, str]]:
    """Split "a:1,b:[x:1,y:2]" at the commas outside brackets, each part at its first colon; white space is dropped."""
    bare = "".join(text.split())
    pairs = []
    for part in re.findall(r"(?:\[[^\]]*\]|[^,])+", bare):
        key, colon, value = part.partition(":")
        if not (key and colon and value):
            raise FwplanError(f"cannot read the allocator setting {part}", hint="write name:value, with commas between")
        pairs.append((key, value))
    return pairs


def _boolean(key: str, value: str) -> bool:
    if value not in {"True", "False"}:
        raise FwplanError(f"allocator setting {key} is {value}", hint="write True or False, with a capital")
    return value == "True"


def _natural(key: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]+", value):
        raise FwplanError(f"allocator setting {key} is {value}", hint="write a whole number")
    return int(value)


def _power_of_two(key: str, value: str) -> int:
    number = _natural(key, value)
    if number.bit_count() != 1:
        raise FwplanError(f"allocator setting {key} has {value}", hint="write a power of two")
    return number


def _divisions(key: str, value: str) -> tuple[int, ...]:
    """Read "4" (everywhere) or "[256:1,512:2,>:8]" (from so many MiB): divisions for 1 MiB, 2 MiB, ... 32 GiB.

    The first interval of a list also stands for all smaller sizes, ">" for all beyond the last named; sizes between
    two named ones keep none, as in PyTorch.
    """
    if not value.startswith("["):
        return (_power_of_two(key, value),) * POWER2_INTERVALS
    table = [0] * POWER2_INTERVALS
    last = -1
    for start, division in _pairs(value.strip("[]")):
        steps = 0 if division == "0" else _power_of_two(key, division)
        if start == ">":
            table[last + 1 :] = [steps] * (POWER2_INTERVALS - last - 1)
            continue
        index = min(_power_of_two(key, start).bit_length() - 1, POWER2_INTERVALS - 1)
        table[0 if last < 0 else index : index + 1] = [steps] * (index + 1 if last < 0 else 1)
        last = index
    return tuple(table)
