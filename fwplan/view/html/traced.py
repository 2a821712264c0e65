"""The section on a traced step: its timeline, what is alive at its peak, what the allocator makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.view.html.markup import Html, size, table, tag
from fwplan.view.html.timeline import traced_svg

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.tracing.traced import Traced

_VERDICTS = {"fits": "fits", "fits_at_point": "fits at the point estimate only", "does_not_fit": "does not fit"}


def traced_section(traced: Traced) -> Html:
    """Return a traced step beside the closed form."""
    trace = traced.trace
    picture = traced_svg(trace.timeline, traced.replayed.available_bytes if traced.replayed.on_cuda else None)
    framed = tag("div", picture, class_="scroll", tabindex=0, role="region", aria_label="a traced step, a picture")
    figure = tag("figure", framed, tag("figcaption", "Live tensors of one step, op by op, traced on fake tensors."))
    held = trace.alive_at_peak()
    rows = [
        (
            item.origin.op,
            item.origin.where,
            str(item.copies),
            _tensor(item.origin.shape, item.origin.dtype),
            size(item.bytes),
        )
        for item in held
    ]
    heads = ("made by", "in", "copies\t", "tensor", "GiB\t")
    foot = ("all", "", "", "", size(trace.peak_allocated_bytes))
    alive = table("Alive at the traced peak, equal tensors of one op together", heads, rows, foot=foot)
    notes = [tag("ul", *(tag("li", note) for note in trace.notes))] if trace.notes else []
    folded = tag("details", tag("summary", f"{len(rows)} kinds of tensors alive at the traced peak"), alive)
    facts = table("What the trace says", ("figure", "value"), list(_facts(traced)), kind="narrow")
    return tag("section", tag("h2", "A traced step"), figure, facts, folded, *notes)


def _tensor(shape: tuple[int, ...] | None, dtype: str | None) -> str:
    return f"{' x '.join(map(str, shape))} {dtype or ''}" if shape is not None else dtype or ""


def _facts(traced: Traced) -> Iterator[tuple[str, str]]:
    trace = traced.trace
    yield "traced peak", size(trace.peak_allocated_bytes)
    yield "at", f"{trace.peak_op.op} {trace.peak_op.where}".strip()
    if traced.difference is not None:
        yield "the closed form is off by", f"{traced.difference:+.2%}"
    if traced.unlimited is not None and traced.least_bytes is not None:
        yield "reserved, without a limit", size(traced.unlimited.peak_reserved_bytes)
        yield "reserved, at the very least", size(traced.least_bytes)
    if traced.verdict is not None:
        yield "by replay", _VERDICTS[traced.verdict]
