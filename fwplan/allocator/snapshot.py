"""A replay as PyTorch's own memory snapshot, for pytorch.org/memory_viz and python -m torch.cuda._memory_viz.

Source of the format: torch.cuda.memory._snapshot of PyTorch 2.13, and what MemoryViz.js reads of it.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from fwplan.allocator.caching import CachingAllocator, OutOfMemory, Segment
from fwplan.allocator.settings import DEFAULT, Settings
from fwplan.errors import FwplanError
from fwplan.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fwplan.allocator.events import Event

PROTOCOL = 4  # MemoryViz.js reads 2 to 4

Frames = list[dict[str, Any]]


def snapshot(events: Iterable[Event], *, capacity: int | None = None, settings: Settings = DEFAULT) -> dict[str, Any]:
    """Return the memory snapshot that a run of this stream would leave: all it did, and the segments at its end.

    It stops at the first request that cannot be served, with an "oom" entry. Labels stand where PyTorch has the stack;
    the time of an entry, in microseconds, is the index of its event. Sizes are in bytes, as requested, like PyTorch's.
    """
    trace: list[dict[str, Any]] = []
    now, frames = 0, _frames("")
    by_tensor: dict[int, Frames] = {}
    by_address: dict[int, Frames] = {}

    def record(action: str, address: int, size: int) -> None:
        trace.append(_entry(action, size, now, frames) | {"addr": address})
        if action == "alloc":
            by_address[address] = frames

    allocator = CachingAllocator(capacity, settings, record=record)
    for now, event in enumerate(events):
        if event.action == "release":
            frames = _frames(event.label) if event.label else by_tensor[event.tensor]
            allocator.release(event.tensor)
            continue
        frames = by_tensor[event.tensor] = _frames(event.label or f"tensor {event.tensor}")
        try:
            allocator.allocate(event.tensor, event.bytes)
        except OutOfMemory as error:
            shortage = error.shortage
            trace.append(_entry("oom", event.bytes, now, frames) | {"device_free": shortage.free_bytes})
            break
    return {
        "segments": [_segment(segment, by_address, settings) for segment in allocator.segments()],
        "device_traces": [trace],
    }


def write_snapshot(
    path: Path, events: Iterable[Event], *, capacity: int | None = None, settings: Settings = DEFAULT
) -> None:
    """Write snapshot() as a pickle, whole or not at all.

    Raises:
        FwplanError: the folder is missing, cannot be written, or is full; or something else is there, such as a config.
    """
    refuse_snapshot(path)
    document = snapshot(events, capacity=capacity, settings=settings)
    write_whole(path, lambda file: pickle.dump(document, file, protocol=PROTOCOL))


def refuse_snapshot(path: Path) -> None:
    """Raise where a snapshot would replace a file that is no pickle."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        if file.read(1) not in {b"", pickle.PROTO}:
            raise FwplanError(
                f"{path} exists and is not a snapshot", hint="choose another place: --snapshot step.pickle"
            )


def _frames(label: str) -> Frames:
    return [{"filename": "fwplan", "line": 0, "name": label}]


def _entry(action: str, size: int, now: int, frames: Frames) -> dict[str, Any]:
    return {"action": action, "size": size, "stream": 0, "time_us": now, "frames": frames}


def _segment(segment: Segment, by_address: dict[int, Frames], settings: Settings) -> dict[str, Any]:
    used = [block for block in segment.blocks if block.in_use]
    allocated = sum(block.size for block in used)
    return {
        "device": 0,
        "address": segment.blocks[0].address,
        "total_size": sum(block.size for block in segment.blocks),
        "allocated_size": allocated,
        "active_size": allocated,
        "requested_size": sum(block.requested for block in used),
        "stream": 0,
        "segment_type": "small" if segment.pool.small else "large",
        "segment_pool_id": (0, 0),
        "is_expandable": settings.expandable_segments,
        "frames": [],
        "blocks": [
            {
                "address": block.address,
                "size": block.size,
                "requested_size": block.requested if block.in_use else 0,
                "state": "active_allocated" if block.in_use else "inactive",
                "frames": by_address[block.address] if block.in_use else [],
            }
            for block in segment.blocks
        ],
    }
