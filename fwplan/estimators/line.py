"""One line of an estimate: a tensor, or a family of equal ones, the phases in which it is alive, and their sums."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fwplan.estimators.phases import Phase

if TYPE_CHECKING:
    from collections.abc import Iterable

Kind = Literal["persistent", "saved", "transient"]
Status = Literal["exact", "prior", "calibrated", "measured"]


class Line(NamedTuple):
    """Bytes of one named thing. All that a user sees of an estimate is its lines."""

    name: str
    bytes: int
    shape: tuple[int, ...] | None  # of one tensor; None for a mixed family
    dtype: str | None
    phases: Phase
    kind: Kind
    formula: str  # in the letters of fwplan.estimators.sizes
    source: str
    status: Status = "exact"


def phase_totals(lines: Iterable[Line], phases: Phase) -> dict[Phase, int]:
    """Return bytes alive in each of the phases: the sum of the lines that name it."""
    alike: dict[int, int] = {}  # bytes of the lines that live in the same phases
    for line in lines:
        when = line.phases._value_  # an enum's own & and .value are slow
        alike[when] = alike.get(when, 0) + line.bytes
    items = list(alike.items())
    return {phase: sum([size for when, size in items if when & bit]) for phase, bit in _bits(phases)}


@cache
def _bits(phases: Phase) -> tuple[tuple[Phase, int], ...]:
    return tuple((phase, phase.value) for phase in Phase if phase & phases)
