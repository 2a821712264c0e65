"""One line of an estimate: a tensor, or a family of equal ones, the phases in which it is alive, and their sums."""

from __future__ import annotations

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


_BITS = tuple((phase, phase.value) for phase in Phase)  # an enum's .value is a slow property


def phase_totals(lines: Iterable[Line], phases: Phase) -> dict[Phase, int]:
    """Return bytes alive in each of the phases: the sum of the lines that name it."""
    alive = [(int(line.phases), line.bytes) for line in lines]
    wanted = int(phases)
    return {phase: sum([size for when, size in alive if when & bit]) for phase, bit in _BITS if bit & wanted}
