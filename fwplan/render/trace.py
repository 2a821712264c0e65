"""What `explain --trace` adds: the traced peak, its op, what is alive there, and what the allocator makes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.render.terminal import note_lines
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.traced import Traced
    from fwplan.tracing.result import Held

_SHOWN = 8
_BAR = 10
_SPARKS = "▁▂▃▄▅▆▇█"
_COLUMNS = 64
VERDICTS = {"fits": "fits", "fits_at_point": "fits at the point estimate only", "does_not_fit": "does not fit"}


def trace_lines(traced: Traced) -> Iterator[str]:
    """Yield the trace beside the closed form."""
    trace = traced.trace
    yield f"[bold]Traced[/], one step op by op on fake tensors ({trace.seconds:.1f} s)"
    against = f"; the closed form is {traced.difference:+.2%} off" if traced.difference is not None else ""
    place = f" in {trace.peak_op.where}" if trace.peak_op.where else ""
    yield f"  peak {gib(trace.peak_allocated_bytes)} at {escape(trace.peak_op.op + place)}{against}"
    yield from _held_lines(trace.alive_at_peak(), trace.peak_allocated_bytes)
    yield from _allocator_lines(traced)
    yield f"  {_sparks(trace.timeline)} over the step"
    yield from note_lines(trace.notes)


def _held_lines(held: Sequence[Held], peak: int) -> Iterator[str]:
    for item in held[:_SHOWN]:
        origin, share = item.origin, item.bytes / peak
        shape = "x".join(str(size) for size in origin.shape) if origin.shape is not None else ""
        tensor = f"{item.copies:3} x {shape} {_short(origin.dtype)}" if shape else f"{item.copies:3} x"
        made = f"{origin.op} {origin.where}".strip()
        yield f"  {tensor:30} {gib(item.bytes):>10}  {share:4.0%}  [dim]{escape(made[:30])}[/]"
    rest = sum(item.bytes for item in held[_SHOWN:])
    if rest:
        yield f"  {f'{len(held) - _SHOWN} smaller kinds':30} {gib(rest):>10}  {rest / peak:4.0%}"


def _short(dtype: str | None) -> str:
    return (dtype or "").replace("bfloat", "bf").replace("float", "fp")


def _allocator_lines(traced: Traced) -> Iterator[str]:
    unlimited, least = traced.unlimited, traced.least_bytes
    if unlimited is None or least is None:
        return
    free = gib(unlimited.peak_reserved_bytes)
    yield f"  {'reserved, without a limit':30} {free:>10}  by replay through the caching allocator"
    yield f"  {'reserved, at the very least':30} {gib(least):>10}  blocks given back, tried again"
    if traced.verdict is not None:
        label = traced.estimate.target.label if traced.estimate.target else "the card"
        yield f"  so by replay it [bold]{VERDICTS[traced.verdict]}[/] on {escape(label)}"


def _sparks(timeline: Sequence[int]) -> str:
    """Return the step's live bytes as a row of blocks, each the highest of its stretch."""
    count = min(_COLUMNS, len(timeline))
    edges = [len(timeline) * i // count for i in range(count + 1)]
    highest = [max(timeline[a:b]) for a, b in pairwise(edges)]
    top = max(highest)
    return "".join(_SPARKS[min(7, int(8 * value / top))] for value in highest)
