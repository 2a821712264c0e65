"""Memory over one step as a picture: what is alive in each phase, stacked; and the same of a traced step, op by op."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from fwplan.units import GIB, MIB, gib
from fwplan.view.html.axes import even_ticks
from fwplan.view.html.markup import Html, joined, svg, tag

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimation.estimate import Estimate
    from fwplan.tape.phases import Phase
    from fwplan.view.html.families import Family

WIDTH, HEIGHT = 880, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 28, 52
_LINE = 15  # pixels of a line of text


def patterns() -> Html:
    """Return the fills of families 0 to 9, each of its own colour and its own pattern."""
    marks = [
        "", "M0 0L8 8M-2 6L2 10M6 -2L10 2", "M0 8L8 0M-2 2L2 -2M6 10L10 6", "M0 4H8", "M4 0V8", "M0 4H8M4 0V8",
        "M0 0L8 8M0 8L8 0", "M2 2h2v2h-2z", "M0 2H8M0 6H8", "M2 0V8M6 0V8",
    ]  # fmt: skip
    return tag("defs", *(_pattern(number, mark) for number, mark in enumerate(marks)))


def _pattern(number: int, mark: str) -> Html:
    ground = tag("rect", width=8, height=8, class_=f"f{number}")
    drawn = [tag("path", d=mark, class_="mark")] if mark else []
    return tag("pattern", ground, *drawn, id=f"p{number}", width=8, height=8, patternUnits="userSpaceOnUse")


def step_svg(estimate: Estimate, families: Sequence[Family], totals: dict[Phase, int]) -> Html:
    """Return the stacked picture of a step: a column a phase, not to scale in time."""
    assert estimate.memory is not None  # noqa: S101  # who draws memory has it
    peak = estimate.memory.phase
    available = estimate.available_bytes
    top = max([*totals.values(), *([available] if available and available < 1.6 * max(totals.values()) else [])])
    plot = _Plot(top * 1.04, len(totals))
    columns = [_column(plot, n, phase, families, totals[phase], peak=phase is peak) for n, phase in enumerate(totals)]
    said = ", ".join(f"{phase.label} {gib(total)}" for phase, total in totals.items())
    return svg(
        "step", "Memory allocated over one step", f"Bytes alive in each phase: {said}.", WIDTH, HEIGHT,
        patterns(), plot.axis(), *columns, *plot.limit(available, "available"), class_="chart",
    )  # fmt: skip


class _Plot:
    """Where bytes and columns lie in the picture."""

    def __init__(self, top: float, columns: int) -> None:
        self.top = top
        self.width = (WIDTH - _LEFT - _RIGHT) / columns
        self.bottom = HEIGHT - _BOTTOM

    def x(self, column: float) -> float:
        return round(_LEFT + column * self.width, 2)

    def y(self, n_bytes: float) -> float:
        return round(self.bottom - n_bytes / self.top * (self.bottom - _TOP), 2)

    def axis(self) -> Html:
        """Return the horizontal lines of round figures, with their labels."""
        unit, name = (GIB, "GiB") if self.top >= GIB / 2 else (MIB, "MiB")
        return tag("g", *self._ticks(unit, name), class_="axis")

    def _ticks(self, unit: int, name: str) -> Iterator[Html]:
        for n_bytes, said in even_ticks(0, self.top, 5, unit, f" {name}"):
            y = self.y(n_bytes)
            yield tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y)
            yield tag("text", said, x=_LEFT - 6, y=y + 4, text_anchor="end")

    def limit(self, n_bytes: int | None, label: str) -> Iterator[Html]:
        """Yield the dashed line of what the device leaves, where it is in the picture."""
        if n_bytes is None or n_bytes > self.top:
            return
        y = self.y(n_bytes)
        yield tag("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=y, y2=y, class_="limit")
        yield tag("text", f"{label} {gib(n_bytes)}", x=WIDTH - _RIGHT - 4, y=y - 6, text_anchor="end", class_="over")


def _column(plot: _Plot, number: int, phase: Phase, families: Sequence[Family], total: int, *, peak: bool) -> Html:
    """Return a phase: its families from the bottom up, its total above, its name below."""
    drawn: list[Html] = []
    below = 0
    for index, family in enumerate(families):
        above = below + max(0, family.bytes[phase])
        drawn += _segment(plot, number, below, above, index, family)
        below = above
    middle = plot.x(number + 0.5)
    label = tag("text", gib(total), x=middle, y=plot.y(total) - 6, text_anchor="middle", class_="over total")
    return tag(
        "g", *drawn, label, _phase_name(phase.label, middle, plot.bottom, peak=peak), class_="peak" if peak else None
    )


def _segment(plot: _Plot, number: int, below: int, above: int, index: int, family: Family) -> Iterator[Html]:
    y, height = plot.y(above), plot.y(below) - plot.y(above)
    if height <= 0:
        return
    x, width = plot.x(number), plot.width
    said = tag("title", f"{family.name}: {gib(above - below)}")
    yield tag(
        "rect", said, x=x, y=y, width=f"{width:.2f}", height=f"{height:.2f}", fill=f"url(#p{index})", class_="part"
    )
    if height >= _LINE:
        at = {"x": x + width / 2, "y": f"{y + height / 2 + 4:.2f}"}
        yield tag("text", family.letter, text_anchor="middle", class_="over", **at)


def _phase_name(label: str, x: float, bottom: float, *, peak: bool) -> Html:
    """Return the name below a column, a word or two a line."""
    words = label.split()
    cut = (len(words) + 1) // 2
    lines = [" ".join(words[:cut]), " ".join(words[cut:]), "▲ the peak" if peak else ""]
    spans = (tag("tspan", line, x=x, dy=_LINE) for line in lines if line)
    return tag("text", *spans, y=bottom + 2, text_anchor="middle")


def traced_svg(timeline: Sequence[int], available: int | None) -> Html:
    """Return the picture of a traced step: bytes alive after each of its allocations and releases."""
    peak = max(timeline)
    plot = _Plot(peak * 1.08 if available is None or available > 1.6 * peak else max(peak, available) * 1.08, 1)
    highest = _highest(timeline, 720)
    points = [(plot.x(n / max(1, len(highest) - 1)), plot.y(value)) for n, value in enumerate(highest)]
    line = "".join(f"L{x:g} {y:g}" for x, y in points)
    at = points[highest.index(peak)]
    area = tag("path", d=f"M{points[0][0]:g} {plot.bottom}{line}L{points[-1][0]:g} {plot.bottom}Z", class_="area")
    mark = joined((
        tag("circle", cx=at[0], cy=at[1], r=4, class_="dot"),
        tag("text", f"peak {gib(peak)}", x=_inside(at[0]), y=at[1] - 8, text_anchor="middle", class_="over"),
    ))  # fmt: skip
    below = tag(
        "text", f"{len(timeline):,} allocations and releases of one step, in order",
        x=plot.x(0.5), y=plot.bottom + 22, text_anchor="middle",
    )  # fmt: skip
    said = f"Bytes of live tensors after each allocation and release; the peak is {gib(peak)}."
    return svg("traced", "A traced step", said, WIDTH, HEIGHT, plot.axis(), area, *plot.limit(available, "available"),
               mark, below, class_="chart")  # fmt: skip


def _inside(x: float) -> float:
    """Return where a label of some 100 pixels stays in the picture."""
    return min(max(x, _LEFT + 50), WIDTH - _RIGHT - 50)


def _highest(timeline: Sequence[int], most: int) -> list[int]:
    """Return at most so many values, each the highest of its stretch."""
    count = min(most, len(timeline))
    edges = [len(timeline) * n // count for n in range(count + 1)]
    return [max(timeline[a:b]) for a, b in pairwise(edges)]


def swatch(number: int, letter: str) -> Html:
    """Return a family's fill as a small picture for the legend."""
    box = tag("rect", x=0, y=0, width=24, height=16, fill=f"url(#p{number})", class_="part")
    return svg(f"swatch-{letter}", f"pattern {letter}", "As in the picture above.", 24, 16, box, class_="swatch")
