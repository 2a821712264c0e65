"""`fwplan trace`: what one step of anybody's script allocates, and whether a card has room for it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fwplan.allocator.snapshot import refuse_snapshot, write_snapshot
from fwplan.api.common import chosen_target
from fwplan.errors import FwplanError
from fwplan.tracing.replayed import Replayed

if TYPE_CHECKING:
    from fwplan.machine.target import Target


def trace_step(
    place: str,
    *,
    gpu: str | None = None,
    vram: float | str | None = None,
    device: str | None = None,
    snapshot: str | Path | None = None,
) -> tuple[Replayed, Target | None]:
    """Return one traced step of a script, replayed in the allocator, and the device that the options name.

    Args:
        place: script.py:step, the function that takes a step. The script is run, on the meta device.
        gpu: a card by name.
        vram: a card by its nominal memory in GiB.
        device: "cpu" or "cuda": this machine's. With none of the three a GPU is traced, and nothing judged.
        snapshot: a file to write for PyTorch's memory viewer (pytorch.org/memory_viz).

    Raises:
        FwplanError: there is no such script or function, or the step cannot be traced.
    """
    if snapshot is not None:
        refuse_snapshot(Path(snapshot))
    path, colon, function = place.rpartition(":")
    if not colon or not function.isidentifier():
        raise FwplanError(f"{place!r} names no function", hint="fwplan trace script.py:step")
    target = chosen_target(gpu, vram, device)
    from fwplan.tracing.script import trace_script  # noqa: PLC0415  # torch, for who asks for a trace

    spec = target.device if target else None
    kind: Literal["cpu", "cuda"] = "cpu" if spec is not None and spec.type == "cpu" else "cuda"
    replayed = Replayed(trace_script(Path(path), function, device=kind, card=spec.name if spec else None), spec)
    if snapshot is not None:
        write_snapshot(Path(snapshot), replayed.trace.events, settings=replayed.settings)
    return replayed, target
