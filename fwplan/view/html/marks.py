"""A run's mark in the picture of a search, told apart by its form; its area is the memory that it leaves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.units import duration, gib, si
from fwplan.view.html.labels import Box, around
from fwplan.view.html.markup import Html, svg, tag
from fwplan.view.html.picture import Picture, nats

if TYPE_CHECKING:
    from fwplan.planning.front import Point
    from fwplan.view.html.axes import Axis

# Pixels from middle to corner of a mark that leaves nothing of the device, and of one that leaves all.
_LEAST, _MOST = 4.0, 13.0
_FAINT, _HALF = 2.6, 5.5  # radius of a faint one, half a side of yours


@dataclass(frozen=True)
class Marks:
    """The marks of runs, each where its figures put it."""

    picture: Picture
    x: Axis
    y: Axis

    def of(self, point: Point) -> tuple[float, float]:
        return self.x.at(self.picture.of(point)), self.y.at(nats(point))

    def reach(self, point: Point) -> float:
        """Return pixels from the middle to a corner: the area grows with what the run leaves of the device."""
        left = max(0.0, point.headroom_bytes / self.picture.available)
        return round(math.sqrt(_LEAST**2 + (_MOST**2 - _LEAST**2) * left), 2)

    def box(self, point: Point) -> Box:
        """Return what a mark covers: the pick's ring too."""
        return around(*self.of(point), self.reach(point) + (5 if point in self.picture.own else 0))

    def span(self, point: Point) -> Box:
        """Return what the interval of a run's loss covers."""
        assert point.loss is not None  # noqa: S101
        x = self.of(point)[0]
        return Box(x - 6, self.y.at(point.loss.high), x + 6, self.y.at(point.loss.low))

    def faint(self, point: Point) -> Html:
        x, y = self.of(point)
        return tag("circle", tag("title", run_text(point)), cx=x, cy=y, r=_FAINT, class_="faint")

    def diamond(self, point: Point, kind: str) -> Html:
        (x, y), reach = self.of(point), self.reach(point)
        path = f"M{x:g} {y - reach:g}L{x + reach:g} {y:g}L{x:g} {y + reach:g}L{x - reach:g} {y:g}Z"
        return tag("path", tag("title", run_text(point)), d=path, class_=kind)

    def ring(self, point: Point) -> Html:
        x, y = self.of(point)
        return tag("circle", cx=x, cy=y, r=self.reach(point) + 4, class_="ring")

    def square(self, point: Point) -> Html:
        x, y = self.of(point)
        box = tag("rect", tag("title", run_text(point)), x=round(x - _HALF, 2), y=round(y - _HALF, 2),
                  width=2 * _HALF, height=2 * _HALF, class_="yours")  # fmt: skip
        corner, side = f"M{x - _HALF:.2f} {y - _HALF:.2f}", 2 * _HALF
        cross = tag("path", d=f"{corner}l{side} {side}m0 {-side}l{-side} {side}", class_="yours")
        return tag("g", box, cross)

    def interval(self, point: Point) -> Html:
        """Return the expected loss from end to end as an upright line with a bar at either end."""
        span = self.span(point)
        path = f"M{span.left:g} {span.top:g}h12m-6 0V{span.bottom:g}m-6 0h12"
        return tag("path", d=path, class_="interval")


def run_text(point: Point) -> str:
    """Return a run in words."""
    time = f", {duration(point.seconds)}" if point.seconds else ""
    loss = f"{point.loss.low:.2f}-{point.loss.high:.2f} nats" if point.loss else "loss unknown"
    return (
        f"{si(point.parameters)} parameters, {point.n_layer} layers, width {point.n_embd}: {loss}{time}, "
        f"at most {gib(point.needed_bytes)}"
    )


def key_svg(kind: str, said: str) -> Html:
    """Return a mark as a small picture for the legend."""
    shapes = {
        "faint": tag("circle", cx=12, cy=10, r=_FAINT, class_="faint"),
        "front": tag("g", tag("path", d="M9 1L18 10L9 19L0 10Z", class_="front"),
                     tag("path", d="M20 6L24 10L20 14L16 10Z", class_="front")),
        "pick": tag("g", tag("path", d="M12 5L17 10L12 15L7 10Z", class_="pick"),
                    tag("circle", cx=12, cy=10, r=8, class_="ring")),
        "yours": tag("g", tag("rect", x=6, y=4, width=12, height=12, class_="yours"),
                     tag("path", d="M6 4l12 12m0 -12l-12 12", class_="yours")),
        "interval": tag("path", d="M6 2h12m-6 0V18m-6 0h12", class_="interval"),
        "stair": tag("path", d="M1 5H12V15H23", class_="stair"),
    }  # fmt: skip
    return svg(f"key-{kind}", f"mark: {kind}", said, 24, 20, shapes[kind], class_="key")
