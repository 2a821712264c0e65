"""What `explain --trace` adds: the traced peak, its op, what is alive there, and what the allocator makes of it."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import note_lines
from fwplan.units import gib

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwplan.estimators.levels import Verdict
    from fwplan.tracing.replayed import Replayed
    from fwplan.tracing.result import Held
    from fwplan.tracing.traced import Traced

_SHOWN = 8
_BAR = 10
_SPARKS = "▁▂▃▄▅▆▇█"
_COLUMNS = 60
VERDICTS = {"fits": "fits", "fits_at_point": "fits at the point estimate only", "does_not_fit": "does not fit"}


def trace_lines(traced: Traced) -> Iterator[str]:
    """Yield the trace beside the closed form."""
    target = traced.estimate.target
    closed_form = [] if traced.difference is None else [f"  the closed form is {traced.difference:+.2%} off"]
    yield from replayed_lines(traced.replayed, traced.verdict, target.label if target else "the card", closed_form)


def replayed_lines(
    replayed: Replayed, verdict: Verdict | None, label: str, beside: Iterable[str] = ()
) -> Iterator[str]:
    """Yield a traced step: its peak, what is said beside it, what is alive there, what the allocator makes of it."""
    trace = replayed.trace
    yield f"[bold]Traced[/], one step op by op on fake tensors ({trace.seconds:.1f} s)"
    yield f"  peak {gib(trace.peak_allocated_bytes)}, at {escape(trace.peak_op.op)}"
    yield from beside
    yield from _held_lines(trace.alive_at_peak(), trace.peak_allocated_bytes)
    yield from _allocator_lines(replayed)
    if verdict is not None:
        yield f"  so by replay it [bold]{VERDICTS[verdict]}[/] on {escape(label)}"
    yield f"  {_sparks(trace.timeline)} over the step"
    yield from note_lines(trace.notes)


def _held_lines(held: Sequence[Held], peak: int) -> Iterator[str]:
    for item in held[:_SHOWN]:
        origin, share = item.origin, item.bytes / peak
        shape = "x".join(str(size) for size in origin.shape) if origin.shape is not None else ""
        tensor = f"{item.copies:3} x {shape} {_short(origin.dtype)}" if shape else f"{item.copies:3} x"
        made = f"{origin.op} {origin.where}".strip()
        yield f"  {tensor:30} {gib(item.bytes):>10}  {share:4.0%}  [dim]{escape(made[:28])}[/]"
    rest = sum(item.bytes for item in held[_SHOWN:])
    if rest:
        yield f"  {f'{len(held) - _SHOWN} smaller kinds':30} {gib(rest):>10}  {rest / peak:4.0%}"


def _short(dtype: str | None) -> str:
    return (dtype or "").replace("bfloat", "bf").replace("float", "fp")


def _allocator_lines(replayed: Replayed) -> Iterator[str]:
    unlimited, least = replayed.unlimited, replayed.least_bytes
    if unlimited is None or least is None:
        return
    free = gib(unlimited.peak_reserved_bytes)
    yield f"  {'reserved, without a limit':30} {free:>10}  by replay"
    yield f"  {'reserved, at the very least':30} {gib(least):>10}  blocks given back, tried again"


def _sparks(timeline: Sequence[int]) -> str:
    """Return the step's live bytes as a row of blocks, each the highest of its stretch."""
    count = min(_COLUMNS, len(timeline))
    edges = [len(timeline) * i // count for i in range(count + 1)]
    highest = [max(timeline[a:b]) for a, b in pairwise(edges)]
    top = max(highest)
    return "".join(_SPARKS[min(7, int(8 * value / top))] for value in highest)
