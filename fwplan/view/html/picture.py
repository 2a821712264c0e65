"""What a picture of a search shows: which runs, and what lies from left to right."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fwplan.view.html.axes import Axis
from fwplan.view.html.labels import Box

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from fwplan.planning.front import Point

WIDTH, HEIGHT = 880, 440
FRAME = Box(56, 30, WIDTH - 14, HEIGHT - 50)
_RIGHT = FRAME.right - 48  # where the axis' end lies: beyond it there is room for a name
_FAR = 3  # times the slowest run: a limit beyond it is not drawn
_SAME_TIME = 1.15  # runs whose times differ by less than this all take the time there is: then memory tells them apart


@dataclass(frozen=True)
class Picture:
    """What is drawn.

    Attributes:
        points: shapes' best runs, each with a loss and a time.
        available: bytes of the device.
        limit: the longest time in seconds, and how it is said.
        names: of shapes (layers, width) that the page speaks of elsewhere.
        yours: a run of its own beside them.
    """

    points: Sequence[Point]
    available: int
    limit: tuple[float, str]
    names: Mapping[tuple[int, int], str] = field(default_factory=dict)
    yours: Point | None = None

    @property
    def by_time(self) -> bool:
        """Whether time is drawn from left to right: where all runs take as long, it is memory."""
        seconds = [point.seconds or 0 for point in self._all]
        return max(seconds) > _SAME_TIME * min(seconds)

    @property
    def _all(self) -> list[Point]:
        return [*self.points, *([self.yours] if self.yours else [])]

    @property
    def own(self) -> list[Point]:
        """The runs that the page is about, drawn with the interval of their loss: the pick, and yours."""
        return [point for point in self._all if point.picked or point is self.yours]

    @property
    def front(self) -> list[Point]:
        """The runs that none of the others beats in all, from left to right."""
        return sorted(
            (point for point in self.points if point.on_front), key=lambda point: (self.of(point), nats(point))
        )

    @property
    def stair(self) -> list[Point]:
        """Those of the front that no run further left expects as low a loss as."""
        found: list[Point] = []
        for point in self.front:
            if not found or nats(point) < nats(found[-1]):
                found.append(point)
        return found

    def of(self, point: Point) -> float:
        """Return what lies from left to right: seconds, or bytes."""
        return (point.seconds or 0) if self.by_time else point.needed_bytes

    def axes(self) -> tuple[Axis, Axis]:
        """Return both axes, with some air around the marks."""
        across = [self.of(point) for point in self._all]
        down = [nats(point) for point in self._all]
        down += [end for point in self.own if point.loss for end in (point.loss.low, point.loss.high)]
        air = max(0.01, 0.04 * (max(down) - min(down)))
        y = Axis(min(down) - air, max(down) + air, FRAME.bottom, FRAME.top)
        if not self.by_time:
            side = max(1.0, 0.05 * (max(*across, self.available) - min(across)))
            return Axis(min(across) - side, max(*across, self.available) + side, FRAME.left, _RIGHT), y
        low, high = min(across), max(across)
        if self.limit[0] <= _FAR * high:
            high = max(high, self.limit[0])
        side = (high / low) ** 0.04
        return Axis(low / side, high * side, FRAME.left, _RIGHT, log=True), y


def nats(point: Point) -> float:
    """Return the middle of the loss to expect."""
    assert point.loss is not None  # noqa: S101  # who is drawn has one
    return point.loss.point
