"""One line of an estimate: a tensor, or a family of equal ones, the phases in which it is alive, and their sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from fwplan.tape.phases import Phase

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
    formula: str  # in the letters of fwplan.estimators.moments.mode.numbers_of
    source: str
    status: Status = "exact"
