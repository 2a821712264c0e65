"""A search as a picture: expected loss against time, a mark for each shape's best run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.units import GIB, gib, si
from fwplan.view.html.axes import Axis, even_ticks, time_ticks
from fwplan.view.html.labels import Box, Labels
from fwplan.view.html.marks import Marks, run_text
from fwplan.view.html.markup import Html, svg, tag
from fwplan.view.html.picture import FRAME, HEIGHT, WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from fwplan.planning.front import Point
    from fwplan.view.html.picture import Picture

_APART = 40  # pixels between two labels of an axis
_NAMED = 6  # marks of the front that are named beside the rivals


def front_svg(picture: Picture) -> Html:
    """Return the picture: faint dots are beaten, diamonds are the front, the ring is the pick, the square yours."""
    x, y = picture.axes()
    at = Marks(picture, x, y)
    picked = [point for point in picture.points if point.picked]
    plain = [point for point in picture.front if not point.picked]
    return svg(
        "front", "Expected loss against time" if picture.by_time else "Expected loss against memory", _said(picture),
        WIDTH, HEIGHT,
        _grid(picture, x, y), *_limit(picture, x), _stair(picture, at),
        *(at.faint(point) for point in picture.points if not point.on_front and not point.picked),
        *(at.diamond(point, "front") for point in sorted(plain, key=lambda point: point.needed_bytes)),
        *(mark for point in picked for mark in (at.interval(point), at.diamond(point, "pick"), at.ring(point))),
        *((at.interval(picture.yours), at.square(picture.yours)) if picture.yours else ()),
        *_labels(picture, at), class_="chart",
    )  # fmt: skip


def _said(picture: Picture) -> str:
    stair = picture.stair
    told = [f"from {run_text(stair[0])}", f"to {run_text(stair[-1])}"] if stair else []
    picked = [f"picked: {run_text(point)}" for point in picture.points if point.picked]
    own = [f"yours: {run_text(picture.yours)}"] if picture.yours else []
    front = f"{len(picture.front)} of {len(picture.points)} shapes are beaten by none in loss, time and memory"
    return "; ".join([", ".join([front, *told]), *picked, *own]) + "."


def _grid(picture: Picture, x: Axis, y: Axis) -> Html:
    """Return the lines of round figures, with their labels and what they are of."""
    across = time_ticks(x.low, x.high) if picture.by_time else even_ticks(x.low, x.high, 6, GIB, " GiB")
    name = "time to train, by factors: middle of its interval" if picture.by_time else "memory needed: upper end"
    return tag(
        "g", *_rows(y), *_columns(x, across),
        tag("text", "expected loss, nats: lower is better", x=FRAME.left, y=16),
        tag("text", name, x=(FRAME.left + FRAME.right) / 2, y=FRAME.bottom + 38, text_anchor="middle"),
        class_="axis",
    )  # fmt: skip


def _rows(y: Axis) -> Iterator[Html]:
    for value, said in even_ticks(y.low, y.high, 6):
        yield tag("line", x1=FRAME.left, x2=FRAME.right, y1=y.at(value), y2=y.at(value))
        yield tag("text", said, x=FRAME.left - 6, y=y.at(value) + 4, text_anchor="end")


def _columns(x: Axis, ticks: Iterable[tuple[float, str]]) -> Iterator[Html]:
    yield tag("line", x1=FRAME.left, x2=FRAME.right, y1=FRAME.bottom, y2=FRAME.bottom)
    last = -1.0 * _APART
    for value, said in ticks:
        if x.at(value) - last < _APART:
            continue
        last = x.at(value)
        yield tag("line", x1=x.at(value), x2=x.at(value), y1=FRAME.top, y2=FRAME.bottom)
        yield tag("text", said, x=x.at(value), y=FRAME.bottom + 18, text_anchor="middle")


def _limit(picture: Picture, x: Axis) -> Iterator[Html]:
    """Yield the dashed line of the time, or of the memory, that there is."""
    value, said = picture.limit if picture.by_time else (picture.available, f"available {gib(picture.available)}")
    if value > x.high:
        return
    at = x.at(value)
    yield tag("line", x1=at, x2=at, y1=FRAME.top, y2=FRAME.bottom, class_="limit")
    yield tag("text", said, x=at + 4, y=FRAME.top - 8, text_anchor="end", class_="over")


def _stair(picture: Picture, at: Marks) -> Html:
    """Return the lowest expected loss that is reached by any time, as a line that only falls."""
    corners = [at.of(point) for point in picture.stair]
    if not corners:
        return Html()
    steps = "".join(f"H{x:g}V{y:g}" for x, y in corners[1:])
    return tag("path", d=f"M{corners[0][0]:g} {corners[0][1]:g}{steps}H{FRAME.right:g}", class_="stair")


def _labels(picture: Picture, at: Marks) -> Iterator[Html]:
    """Yield names beside marks: the pick's and yours, then those that the page speaks of, then some of the front."""
    labels = Labels(FRAME)
    labels.taken += [at.box(point) for point in (*picture.own, *picture.front)]
    labels.taken += [at.span(point) for point in picture.own]
    end = at.x.at(picture.limit[0] if picture.by_time else picture.available)
    labels.taken.append(Box(end - 2, FRAME.top, end + 2, FRAME.bottom))
    for point in picture.own:
        text = f"yours, {si(point.parameters)}" if point is picture.yours else _name(picture, point)
        yield from _label(labels, text, "over", at.box(point), at.span(point), anyway=True)
    named = [point for point in picture.points if (point.n_layer, point.n_embd) in picture.names and not point.picked]
    for point in (*named, *_spread([p for p in picture.stair if p not in named and not p.picked])):
        yield from _label(labels, _name(picture, point), "over aside", at.box(point))


def _name(picture: Picture, point: Point) -> str:
    letter = picture.names.get((point.n_layer, point.n_embd), "")
    return f"{letter} {si(point.parameters)}".strip()


def _spread(points: Sequence[Point]) -> list[Point]:
    """Return a few, evenly over all."""
    count = min(_NAMED, len(points))
    return [points[round((len(points) - 1) * n / max(1, count - 1))] for n in range(count)]


def _label(labels: Labels, text: str, kind: str, *marks: Box, anyway: bool = False) -> Iterator[Html]:
    spot = labels.place(text, *marks, anyway=anyway)
    if spot is not None:
        yield tag("text", text, x=spot[0], y=spot[1], class_=kind)
