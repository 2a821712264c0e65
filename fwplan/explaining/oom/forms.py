"""The forms of out-of-memory messages: PyTorch's allocators since 1.10, and what fails below them without figures."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fwplan.explaining.oom.amount import SIZE, first, sizes
from fwplan.explaining.oom.message import Backend, Message

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.oom.amount import Amount

_LONGEST = 1500  # characters of one message; the longest form lists every process on the card

_OUT = r"out\s+of\s+memory"
_RAISED = r"(?:(?:OutOfMemory|Accelerator|Runtime)Error|Exception\s+(?:Message|during\s+processing))[:*! ]{1,9}\s?"
# What the driver or a library says, without figures.
_CODES = (
    rf"(?i:CUDA|HIP)\s+(?:driver\s+|runtime\s+)?err(?:or)?(?:\s*\(2\))?\s*:\s+(?:{_OUT}|hipErrorOutOfMemory)",
    rf"THCudaCheck\s+FAIL[^\n]{{0,200}}:\s+{_OUT}",
    rf"Triton\s+Error\s+\[CUDA\]:\s+{_OUT}",
    rf"Cuda\s+failure\s+(?:2\s+)?'{_OUT}'",
    r"(?i:CU(?:BLAS|DNN)_STATUS_ALLOC_FAILED)",
    r"CUDA_ERROR_OUT_OF_MEMORY",
    r"UR_RESULT_ERROR_OUT_OF_DEVICE_MEMORY",
)
# Each named group has a reader below; what has none, or a code, comes without figures.
_FORMS = (
    rf"(?P<gpu>CUDA|HIP|XPU)\s+{_OUT}\.\s+Tried",
    rf"(?<!memory\. )(?P<sized>Tried)\s+to\s+allocate\s+{SIZE}\.?\s{{0,9}}\(?\s{{0,9}}GPU\s",  # quoted alone
    r"Current\s+(?P<block>platform)\s+can\s+NOT\s+allocate\s+memory\s+block[^\n]{0,60}?Tried",  # Intel's extension
    rf"(?P<mps>MPS)\s+backend\s+{_OUT}",
    r"(?P<cpu>DefaultCPUAllocator):",
    r"Allocation\s+on\s+(?P<table>device)\s{0,9}\d{0,9}\s{0,9}would",
    rf"{_RAISED}(?P<bare>CUDA|HIP|XPU)\s+{_OUT}(?!\.\s+Tried)",
    rf"{_RAISED}Allocation\s+on\s+device\b(?!\s{{0,9}}\d{{0,9}}\s{{0,9}}would)",  # ComfyUI's
    rf"(?P<code>{'|'.join(_CODES)})",
    # the allocator was about to list the processes of a card whose driver does not tell (MIG, Jetson)
    r"NVML_SUCCESS\s+==\s+r\s+INTERNAL\s+ASSERT\s+FAILED\s+at\s+\"[^\"\n]{0,200}CUDACachingAllocator",
    r"expandable_segments:\s+memory\s+mapping\s+failed\s+with\s+OOM",
)
_ANCHOR = re.compile(rf"(?=[ACDEHMNORTUXceh])(?:{'|'.join(_FORMS)})")  # the first letters alone: ten times as quick


def messages(text: str) -> Iterator[Message]:
    """Yield the out-of-memory messages in a log, in order. Prefixes such as "[rank0]: " must be gone."""
    found = list(_ANCHOR.finditer(text))
    ends = [match.start() for match in found[1:]] + [len(text)]
    for match, end in zip(found, ends, strict=False):
        message = _read(text[match.start() : min(end, match.start() + _LONGEST)], match)
        if message is not None:
            yield message


def _read(text: str, match: re.Match[str]) -> Message | None:
    start = match.start()
    if match["mps"]:
        return _mps(text, start)
    if match["cpu"]:
        asked = first(text, rf"tried\s+to\s+allocate\s+{SIZE}")
        return Message("cpu", start, requested=asked) if asked else None
    if match["table"]:
        return _malloc_async(text, start)
    if match["gpu"] or match["sized"] or match["block"]:
        return _caching(text, start, "xpu" if match["block"] else _backend(match["gpu"] or ""))
    return Message(_backend(match["bare"] or match["code"] or ""), start, below=match["code"] is not None)


def _backend(words: str) -> Backend:
    words = words.lower()
    return "hip" if words.startswith("hip") else "xpu" if words.startswith(("xpu", "ur_")) else "cuda"


def _caching(text: str, start: int, backend: Backend) -> Message:
    """Return the caching allocator's message: "(GPU 0; ...)" up to 2.0, "GPU 0 has a total capacity of" since 2.1."""
    allocated = first(text, rf"{SIZE}\s+already\s+allocated") or first(text, rf"allocated\s+memory\s+{SIZE}\s+is\s+a")
    in_use = first(text, rf"this\s+process\s+has\s+{SIZE}\s+memory\s+in\s+use")
    if in_use and allocated and in_use.high < allocated.low:
        in_use = None  # a driver that does not tell (WSL, some virtual cards) prints 0 bytes
    number = re.search(r"GPU\s+(\d+)", text)
    return Message(
        backend,
        start,
        index=int(number[1]) if number else None,
        requested=first(text, rf"Tried\s+to\s+allocate\s+{SIZE}"),
        capacity=first(text, rf"{SIZE}\s+total\s+capacity") or first(text, rf"total\s+capaci?ty\s+of\s+{SIZE}"),
        free=first(text, rf"{SIZE}\s+free") or first(text, rf"of\s+which\s+{SIZE}\s+is\s+free"),
        allocated=allocated,
        reserved=_reserved(text, allocated),
        in_use=in_use,
        listed=tuple(sizes(text, rf"Process\s+\d+\s+has\s+{SIZE}\s+memory\s+in\s+use")),
        allowed=first(text, rf"{SIZE}\s+allowed;"),
        rounded=True,
    )


def _reserved(text: str, allocated: Amount | None) -> Amount | None:
    """Return what the allocator held: printed in total up to 2.0, what is not live since 2.1 and before 1.5."""
    total = first(text, rf"{SIZE}\s+reserved\s+in\s+total")
    rest = first(text, rf"{SIZE}\s+is\s+reserved\s+by\s+PyTorch\s+but") or first(text, rf"{SIZE}\s+cached")
    return total or (allocated + rest if allocated and rest else None)


def _malloc_async(text: str, start: int) -> Message:
    """Return the message of backend:cudaMallocAsync, a table of five lines."""
    number = re.match(r"Allocation\s+on\s+device\s+(\d+)", text)
    return Message(
        "cuda",
        start,
        index=int(number[1]) if number else None,
        requested=first(text, rf"Requested\s*:\s*{SIZE}"),
        capacity=first(text, rf"Device\s+limit\s*:\s*{SIZE}"),
        free=first(text, rf"Free\s+\(according\s+to\s+CUDA\)\s*:\s*{SIZE}"),
        allocated=first(text, rf"Currently\s+allocated\s*:\s*{SIZE}"),
    )


def _mps(text: str, start: int) -> Message:
    """Return Apple's message; torch before 2.6 prints powers of two as "GB"."""
    return Message(
        "mps",
        start,
        requested=first(text, rf"Tried\s+to\s+allocate\s+{SIZE}"),
        allocated=first(text, rf"MPS\s+allocated:\s*{SIZE}"),
        allowed=first(text, rf"max\s+allowed:\s*{SIZE}"),
    )
