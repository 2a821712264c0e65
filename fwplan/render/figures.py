"""Numbers as they are printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.units import GIB

if TYPE_CHECKING:
    from fwplan.estimators.overhead import Range


def gib_range(interval: Range) -> str:
    """Return the ends of an interval of bytes in GiB, without the unit."""
    low, high = interval.low / GIB, interval.high / GIB
    return f"{low:.2f}-{high:.2f}" if high < 9.95 else f"{low:.1f}-{high:.1f}"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: "1 layer", "2 layers"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def plain(value: float) -> str:
    """Return three digits without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
