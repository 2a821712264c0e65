"""What an out-of-memory message says, in every form that PyTorch has given it since 1.13 (and "cached" before 1.4).

Sources: the texts in c10/cuda/CUDACachingAllocator.cpp (1.13, 2.0; from 2.1 on with what each process uses, spelled
"capacty" in 2.1), c10/cuda/CUDAMallocAsyncAllocator.cpp, c10/xpu/XPUCachingAllocator.cpp, c10/core/impl/alloc_cpu.cpp
and aten/src/ATen/mps/MPSAllocator.mm; real messages quoted in public threads are test data, each with its link.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from fwplan.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

Backend: TypeAlias = Literal["cuda", "hip", "xpu", "mps", "cpu"]
_UNITS = {"byte": 1, "k": KIB, "m": MIB, "g": GIB}
_LONGEST = 1500  # characters of one message; the longest form lists every process on the card
_SIZE = r"(?<![\d.])(\d{1,15}(?:\.\d{1,6})?\s{0,9}(?:[KMG]i?B|bytes?))"  # bounded: a log is anybody's text


@dataclass(frozen=True)
class Amount:
    """A printed size: the bytes it shows, and the ends of what rounds to the same print."""

    low: float
    bytes: float
    high: float

    def holds(self, n_bytes: float) -> bool:
        """Return whether a size would be printed like this."""
        return self.low <= n_bytes <= self.high


@dataclass(frozen=True)
class Message:
    """One out-of-memory message; None is what it does not say.

    Attributes:
        backend: whose memory it was.
        index: the device's number.
        requested: what was asked for, on CUDA after the allocator's rounding to a segment.
        capacity: the device's memory.
        free: what the driver had left.
        allocated: live tensors of this process.
        reserved: held by this process's allocator, live and cached.
        in_use: everything this process held, context included.
        others: what other processes held, summed; 0 where the message names none.
        allowed: the limit set by set_per_process_memory_fraction, or MPS's high watermark.
        rounded: whether `requested` is a segment of the caching allocator and no tensor's own size.
        start: where it stands in the text.
    """

    backend: Backend
    start: int
    index: int | None = None
    requested: Amount | None = None
    capacity: Amount | None = None
    free: Amount | None = None
    allocated: Amount | None = None
    reserved: Amount | None = None
    in_use: Amount | None = None
    others: float = 0
    allowed: Amount | None = None
    rounded: bool = False

    @property
    def cached(self) -> float | None:
        """Bytes reserved but not live; None where the message does not say."""
        if self.reserved is None or self.allocated is None:
            return None
        return max(0.0, self.reserved.bytes - self.allocated.bytes)

    def as_dict(self) -> dict[str, Any]:
        """Return the message as `explain --log --json` prints it; bytes as integers."""
        names = ("requested", "capacity", "free", "allocated", "reserved", "in_use", "allowed")
        amounts = {name: getattr(self, name) for name in names}
        return {"backend": self.backend, "device_index": self.index} | {
            f"{name}_bytes": round(amount.bytes) if amount else None for name, amount in amounts.items()
        }


def messages(text: str) -> Iterator[Message]:
    """Yield the out-of-memory messages in a log, in order. Prefixes such as "[rank0]: " must be gone."""
    for match in _ANCHOR.finditer(text):
        found = _read(text[match.start() : match.start() + _LONGEST], match)
        if found is not None:
            yield found


_ANCHOR = re.compile(
    r"(?P<gpu>CUDA|HIP|XPU)\s+out\s+of\s+memory\.\s+Tried"
    r"|(?P<mps>MPS)\s+backend\s+out\s+of\s+memory"
    r"|(?P<cpu>DefaultCPUAllocator):"
    r"|(?P<async>Allocation)\s+on\s+device\s+\d*\s*would"
    r"|(?P<bare>CUDA|HIP)\s+(?:driver\s+|runtime\s+)?error(?:\s*\(2\))?\s*:\s+(?:hipErrorO|o)ut\s*of\s*memory"
    r"|(?P<blas>CUBLAS_STATUS_ALLOC_FAILED|CUDA_ERROR_OUT_OF_MEMORY|Triton\s+Error\s+\[CUDA\]:\s+out\s+of\s+memory"
    r"|Cuda\s+failure\s+2\s+'out\s+of\s+memory')",
    re.IGNORECASE,
)


def _read(text: str, match: re.Match[str]) -> Message | None:
    start = match.start()
    if match["mps"]:
        return _mps(text, start)
    if match["cpu"]:
        asked = _first(text, rf"tried\s+to\s+allocate\s+{_SIZE}")
        return Message("cpu", start, requested=asked) if asked else None
    if match["async"]:
        return _malloc_async(text, start)
    if match["gpu"]:
        return _caching(text, start, _backend(match["gpu"]))
    return Message(_backend(match["bare"] or "cuda"), start)


def _backend(name: str) -> Backend:
    return "hip" if name.lower() == "hip" else "xpu" if name.lower() == "xpu" else "cuda"


def _caching(text: str, start: int, backend: Backend) -> Message:
    """Return the caching allocator's message: "(GPU 0; ...)" up to 2.0, "GPU 0 has a total capacity of" since 2.1."""
    allocated = _first(text, rf"{_SIZE}\s+already\s+allocated") or _first(text, rf"{_SIZE}\s+is\s+allocated\s+by\s+P")
    unallocated = _first(text, rf"{_SIZE}\s+is\s+reserved\s+by\s+PyTorch\s+but")
    cached = _first(text, rf"{_SIZE}\s+cached")
    reserved = _first(text, rf"{_SIZE}\s+reserved\s+in\s+total")
    if reserved is None and allocated is not None:
        extra = unallocated or cached
        reserved = _sum(allocated, extra) if extra else None
    number = re.search(r"GPU\s+(\d+)", text)
    return Message(
        backend,
        start,
        index=int(number[1]) if number else None,
        requested=_first(text, rf"Tried\s+to\s+allocate\s+{_SIZE}"),
        capacity=_first(text, rf"{_SIZE}\s+total\s+capacity")
        or _first(text, rf"total\s+capaci?ty\s+of\s+{_SIZE}"),
        free=_first(text, rf"{_SIZE}\s+free") or _first(text, rf"of\s+which\s+{_SIZE}\s+is\s+free"),
        allocated=allocated,
        reserved=reserved,
        in_use=_first(text, rf"this\s+process\s+has\s+{_SIZE}\s+memory\s+in\s+use"),
        others=sum(
            _amount(size).bytes for size in re.findall(rf"Process\s+\d+\s+has\s+{_SIZE}\s+memory\s+in\s+use", text)
        ),
        allowed=_first(text, rf"{_SIZE}\s+allowed;"),
        rounded=True,
    )  # fmt: skip


def _malloc_async(text: str, start: int) -> Message:
    """Return the message of backend:cudaMallocAsync, a table of five lines."""
    number = re.match(r"Allocation\s+on\s+device\s+(\d+)", text)
    return Message(
        "cuda",
        start,
        index=int(number[1]) if number else None,
        requested=_first(text, rf"Requested\s*:\s*{_SIZE}"),
        capacity=_first(text, rf"Device\s+limit\s*:\s*{_SIZE}"),
        free=_first(text, rf"Free\s+\(according\s+to\s+CUDA\)\s*:\s*{_SIZE}"),
        allocated=_first(text, rf"Currently\s+allocated\s*:\s*{_SIZE}"),
    )


def _mps(text: str, start: int) -> Message:
    """Return Apple's message; torch before 2.6 prints powers of two as "GB"."""
    return Message(
        "mps",
        start,
        requested=_first(text, rf"Tried\s+to\s+allocate\s+{_SIZE}"),
        allocated=_first(text, rf"MPS\s+allocated:\s*{_SIZE}"),
        others=other.bytes if (other := _first(text, rf"other\s+allocations:\s*{_SIZE}")) else 0,
        allowed=_first(text, rf"max\s+allowed:\s*{_SIZE}"),
    )


def _first(text: str, pattern: str) -> Amount | None:
    match = re.search(pattern, text)
    return _amount(match[1]) if match else None


def _amount(text: str) -> Amount:
    match = re.fullmatch(r"(\d+(?:\.(\d+))?)\s*([KMG]|byte)\w*", text.strip(), re.IGNORECASE)
    assert match is not None, text  # noqa: S101  # the pattern that found it says so
    unit = _UNITS[match[3].lower()]
    half = 0.5 * unit * 10.0 ** -len(match[2] or "") if unit > 1 else 0.0
    value = float(match[1]) * unit
    return Amount(value - half, value, value + half)


def _sum(a: Amount, b: Amount) -> Amount:
    return Amount(a.low + b.low, a.bytes + b.bytes, a.high + b.high)
