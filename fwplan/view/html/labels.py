"""Labels in a picture that cover neither each other nor the marks they are not of."""

from __future__ import annotations

from dataclasses import dataclass, field

_LETTER, _LINE = 7.0, 15.0  # pixels: of a letter at most, of a line
_GAPS = (3.0, 12.0)  # and between mark and label: rather near
# Where a label may stand, seen from its mark: across (-1 left of it, 1 right) and down (-1 above it, 1 below).
_PLACES = ((-1, 1), (-1, 0), (0, 1), (1, -1), (1, 0), (0, -1), (1, 1), (-1, -1))


@dataclass(frozen=True)
class Box:
    """A rectangle of pixels."""

    left: float
    top: float
    right: float
    bottom: float

    def meets(self, other: Box) -> bool:
        """Return whether the two share a place."""
        return (
            self.left < other.right and other.left < self.right and self.top < other.bottom and other.top < self.bottom
        )

    def within(self, other: Box) -> bool:
        """Return whether all of it is in the other."""
        return (
            other.left <= self.left
            and self.right <= other.right
            and other.top <= self.top
            and self.bottom <= other.bottom
        )


def around(x: float, y: float, reach: float) -> Box:
    """Return the square of a mark."""
    return Box(x - reach, y - reach, x + reach, y + reach)


@dataclass
class Labels:
    """Labels placed so far, in a frame, beside what they must leave free."""

    frame: Box
    taken: list[Box] = field(default_factory=list)

    def place(self, text: str, *marks: Box, anyway: bool = False) -> tuple[float, float] | None:
        """Return (left, baseline) of a label beside its mark, rather the first, or None where there is no room.

        anyway: then put it beside the first, whatever it covers.
        """
        width = _LETTER * len(text)
        spots = [_beside(mark, width, gap, across, down) for mark in marks for gap in _GAPS for across, down in _PLACES]
        inside = [spot for spot in spots if spot.within(self.frame)]
        free = [spot for spot in inside if not any(spot.meets(box) for box in self.taken)]
        chosen = (free or (inside if anyway else []))[:1]
        self.taken += chosen
        return (chosen[0].left, chosen[0].bottom - 4) if chosen else None


def _beside(mark: Box, width: float, gap: float, across: int, down: int) -> Box:
    """Return the box of a label on one side of its mark."""
    middle_x, middle_y = (mark.left + mark.right) / 2, (mark.top + mark.bottom) / 2
    left = {-1: mark.left - gap - width, 0: middle_x - width / 2, 1: mark.right + gap}[across]
    top = {-1: mark.top - _LINE, 0: middle_y - _LINE / 2, 1: mark.bottom}[down]
    return Box(round(left, 2), round(top, 2), round(left + width, 2), round(top + _LINE, 2))
