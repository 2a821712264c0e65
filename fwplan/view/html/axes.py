"""Axes of a picture: where a value lies between two pixels, and the round figures on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUTE, HOUR, DAY = 60, 3600, 86_400
_NAMES = {1: "s", MINUTE: "min", HOUR: "h", DAY: "d"}
# Durations that people say, as multiples of their unit.
_ROUND = {1: (1, 2, 5, 10, 20, 30), MINUTE: (1, 2, 5, 10, 20, 30), HOUR: (1, 2, 3, 6, 12),
          DAY: (1, 2, 3, 5, 7, 10, 14, 21, 30, 60, 90, 180, 365, 730, 1825, 3650)}  # fmt: skip
Tick = tuple[float, str]  # a value and how it is said


@dataclass(frozen=True)
class Axis:
    """From `low` at pixel `start` to `high` at pixel `end`, evenly or by logarithms."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return the pixel of a value."""
        low, high, here = (math.log(v) if self.log else v for v in (self.low, self.high, value))
        return round(self.start + (here - low) / (high - low) * (self.end - self.start), 2)


def round_step(rough: float) -> float:
    """Return 1, 2 or 5 times a power of ten, at least as much as asked for."""
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)


def even_ticks(low: float, high: float, most: int, unit: float = 1, name: str = "") -> list[Tick]:
    """Return about so many multiples of a round step from low to high, in a unit."""
    step = round_step((high - low) / unit / most)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.ceil(low / unit / step - 1e-9), math.floor(high / unit / step + 1e-9)
    return [(n * step * unit, f"{n * step:.{digits}f}{name}") for n in range(first, last + 1)]


def time_ticks(low: float, high: float) -> list[Tick]:
    """Return round durations from low to high seconds; even steps where the span has fewer than three."""
    said = [
        (float(n * unit), f"{n} {_NAMES[unit]}") for unit, numbers in _ROUND.items() for n in numbers
        if low <= n * unit <= high
    ]  # fmt: skip
    if len(said) >= 3:
        return said
    unit = max((unit for unit in _NAMES if unit <= low), default=1)
    return even_ticks(low, high, 5, unit, f" {_NAMES[unit]}")
