"""Lines of an estimate gathered for a picture: the largest by name, what is left together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.tape.line import Line
    from fwplan.tape.phases import Phase

SHOWN = 9  # as many as can be told apart by pattern and letter
_ORDER = {"persistent": 0, "saved": 1, "transient": 2}


@dataclass(frozen=True)
class Family:
    """What a picture shows as one: its letter, name, and its bytes in each phase of the step."""

    letter: str
    name: str
    kind: str
    bytes: dict[Phase, int]


def families(estimate: Estimate) -> list[Family]:
    """Return the largest lines, those that stay longest first, then one of all that is left; they add up."""
    phases = list(estimate.totals)
    named: dict[str, list[Line]] = {}
    for line in estimate.lines:  # a name may stand for more in one phase than in another
        named.setdefault(line.name, []).append(line)
    largest = sorted(named.values(), key=lambda lines: -_most(lines))
    shown = sorted(largest[:SHOWN], key=lambda lines: (_ORDER[lines[0].kind], -_most(lines)))
    rest = largest[SHOWN:]
    found = [_family(number, lines[0].name, lines[0].kind, lines, phases) for number, lines in enumerate(shown)]
    if rest:
        smaller = [line for lines in rest for line in lines]
        found.append(_family(len(shown), f"{len(rest)} smaller ones", "", smaller, phases))
    return found


def _most(lines: list[Line]) -> int:
    return max(line.bytes for line in lines)


def _family(number: int, name: str, kind: str, lines: list[Line], phases: list[Phase]) -> Family:
    alive = {phase: sum(line.bytes for line in lines if line.phases & phase) for phase in phases}
    return Family("abcdefghijkl"[number], name, kind, alive)
