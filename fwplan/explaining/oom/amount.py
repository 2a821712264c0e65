"""Sizes as PyTorch prints them, with what the rounding of the print leaves open."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwplan.units import GIB, KIB, MIB

SIZE = r"(?<![\d.])(\d{1,15}(?:\.\d{1,6})?\s{0,9}(?:[KMG]i?B|bytes?))"  # bounded: a log is anybody's text
_UNITS = {"byte": 1, "k": KIB, "m": MIB, "g": GIB}
_WRAPPED = 2**63  # an unsigned counter shows a negative number as more, and NVML's "not available" as 2**64


@dataclass(frozen=True)
class Amount:
    """A printed size: the bytes it shows, and the ends of what rounds to the same print."""

    low: float
    bytes: float
    high: float

    def holds(self, n_bytes: float) -> bool:
        """Return whether a size would be printed like this."""
        return self.low <= n_bytes <= self.high

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.low + other.low, self.bytes + other.bytes, self.high + other.high)


def first(text: str, pattern: str) -> Amount | None:
    """Return the first size that stands where the pattern has SIZE; None: there is none, or it cannot be one."""
    found = sizes(text, pattern)
    return found[0] if found else None


def sizes(text: str, pattern: str) -> list[Amount]:
    """Return the sizes that stand where the pattern has SIZE, but for those that cannot be one."""
    found = (_amount(size) for size in re.findall(pattern, text))
    return [one for one in found if one.bytes < _WRAPPED]


def _amount(text: str) -> Amount:
    match = re.fullmatch(r"(\d+(?:\.(\d+))?)\s*([KMG]|byte)\w*", text.strip(), re.IGNORECASE)
    assert match is not None, text  # noqa: S101  # the pattern that found it says so
    unit = _UNITS[match[3].lower()]
    half = 0.5 * unit * 10.0 ** -len(match[2] or "") if unit > 1 else 0.0
    value = float(match[1]) * unit
    return Amount(value - half, value, value + half)
