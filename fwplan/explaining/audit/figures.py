"""Figures as people write them: "125M", "250-300 M", "524,288", "2.55e15"; and whether a truth agrees with one."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fwplan.units import si

ROUNDED = 0.03  # people round
_ROUGHLY = 0.1  # "~0.5M" is 524,288, but no figure is so coarse that it stands for twice as much
_SCALES = {"k": 1e3, "t": 1e12, "m": 1e6, "b": 1e9}
# Bounded and without a choice of where to end, so that no comment takes more than linear time.
DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d{1,12}(?:\.\d{1,6})?)(?!\d|\.\d|,\d)"
RANGE = rf"(?<![\w.,])(?P<low>{DIGITS})(?:\s?[kmbt]?\s?(?:-|\u2013|to)\s?~?(?P<high>{DIGITS}))?"
_SCALE = r"\s?(?P<scale>[kmbt]|thousand|million|billion|trillion)\b"
COUNT = rf"{RANGE}{_SCALE}"
BARE_COUNT = rf"{RANGE}(?:{_SCALE})?"


@dataclass(frozen=True)
class Figure:
    """A figure or a range of them: its ends, and half a unit of its last printed digit."""

    low: float
    high: float
    slack: float

    def agrees(self, truth: float) -> bool:
        """Return whether it is the truth as people round it, or a range that holds it."""
        off = max(ROUNDED * truth, min(self.slack, _ROUGHLY * truth))
        return self.low - off <= truth <= self.high + off

    def times(self, scale: float) -> Figure:
        """Return the figure in another unit."""
        return Figure(self.low * scale, self.high * scale, self.slack * scale)

    @property
    def text(self) -> str:
        """The figure as a count: "125 M", "250-300 M"."""
        low, high = si(self.low), si(self.high)
        if low == high:
            return low
        (start, *unit), (end, *other) = low.split(), high.split()
        if unit != other:
            return f"{low} - {high}"
        return " ".join((f"{float(start):g}-{float(end):g}", *unit))


def figure(match: re.Match[str]) -> Figure:
    """Return the figure of a match of COUNT, BARE_COUNT or RANGE."""
    groups = match.groupdict()
    low, high = groups["low"].replace(",", ""), (groups["high"] or groups["low"]).replace(",", "")
    scale = groups.get("scale")
    decimals = len(high.partition(".")[2])
    return Figure(float(low), float(high), 0.5 * 10.0**-decimals).times(_SCALES[scale[0].lower()] if scale else 1)


def plain_range(match: re.Match[str]) -> str:
    """Return a match of RANGE as it was written, without its unit."""
    return f"{match['low']}-{match['high']}" if match["high"] else match["low"]


def words(*alternatives: str) -> re.Pattern[str]:
    """Return a pattern of whole words, in either case."""
    return re.compile(rf"\b(?:{'|'.join(alternatives)})\b", re.IGNORECASE)


def clause_before(text: str, end: int) -> str:
    """Return what stands between the start of the clause and a place in it."""
    return re.split(r"[;!?,(]\s|(?<!e\.g)\.\s", text[:end])[-1]


def clause(text: str, match: re.Match[str]) -> str:
    """Return the clause that a match stands in."""
    return clause_before(text, match.start()) + re.split(r"[;!?,)]\s|\.\s", text[match.start() :])[0]
