"""What a log says by itself, whatever its config is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.explaining.oom.tensors import tells_size
from fwplan.units import MIB, gib

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.explaining.oom.amount import Amount
    from fwplan.explaining.oom.log import Log
    from fwplan.explaining.oom.message import Message

_MUCH = 200 * MIB  # less is not worth a line


def findings(log: Log) -> Iterator[str]:
    """Yield what the log says by itself, as sentences."""
    message = log.message
    if message.below:
        yield "the message gives no figures: the driver or cuBLAS failed, not the caching allocator"
    elif message.requested is None:
        yield "the message gives no figures" if message.allocated is None else "it does not say what was asked for"
    else:
        yield from _asked(log, message.requested)
    if log.foreach:
        yield (
            "the optimizer's step was the foreach one, whose temporary copies are as large as one of its moments: "
            "fused=True makes none"
        )
    if message.others > _MUCH:
        yield f"other processes held {gib(message.others)} of the card"
    if message.allowed is not None:
        yield f"this process may use {gib(message.allowed.bytes)} by its own limit"


def _asked(log: Log, asked: Amount) -> Iterator[str]:
    """Yield what the size asked for says beside the other figures."""
    message = log.message
    if log.strided is None and not tells_size(message):
        low, high = ("0", "1 MiB") if asked.bytes < 10 * MIB else ("1", "10 MiB")
        yield (
            f"{gib(asked.bytes)} is the segment that tensors of {low} to {high} share, so it names no tensor: memory "
            "had run out already, look at what was alive"
        )
    if message.capacity is not None and asked.low > message.capacity.bytes > 0:
        yield f"this one tensor is larger than the whole device ({gib(message.capacity.bytes)}): it cannot ever fit"
    if message.capacity is not None and message.allocated and message.allocated.low > message.capacity.bytes > 0:
        yield "more was live than the card holds: the Windows driver had spilled into system memory, and ran slowly"
    if message.cached is not None and message.cached >= asked.bytes and message.cached > _MUCH:
        yield f"{gib(message.cached)} was reserved but not live, as much as was asked for: {_fragmentation(message)}"
    if message.free is not None and message.free.bytes > asked.bytes and message.allowed is None:
        yield f"the driver had {gib(message.free.bytes)} free, more than was asked for: another limit, or freed since"


def _fragmentation(message: Message) -> str:
    if message.backend != "cuda":
        return "fragmentation"
    return "fragmentation; PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True lets the allocator use it (Linux)"
