"""What the change from one run to another does, line by line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.spec.flat import flat

if TYPE_CHECKING:
    from fwplan.estimation.estimate import Estimate
    from fwplan.spec import RunSpec


class Change(NamedTuple):
    """One field of the spec that differs."""

    field: str
    before: object
    after: object


class LineChange(NamedTuple):
    """One line of the peak in both runs; 0 where one has no such line alive at its peak."""

    name: str
    before: int
    after: int

    @property
    def difference(self) -> int:
        """Bytes more in the second run."""
        return self.after - self.before


@dataclass(frozen=True)
class Diff:
    """Two runs on one device: what differs of their specs, and what follows from it."""

    before: Estimate
    after: Estimate

    @property
    def changes(self) -> list[Change]:
        """The fields of model and training that differ."""
        a, b = _fields(self.before.spec), _fields(self.after.spec)
        return [Change(name, a.get(name), b.get(name)) for name in a | b if a.get(name) != b.get(name)]

    @property
    def lines(self) -> list[LineChange]:
        """Every line of either peak, the largest difference first; their sums are the two allocated peaks."""
        a, b = _at_peak(self.before), _at_peak(self.after)
        found = [LineChange(name, a.get(name, 0), b.get(name, 0)) for name in dict.fromkeys((*a, *b))]
        return sorted(found, key=lambda line: (-abs(line.difference), -line.before))

    def as_dict(self) -> dict[str, Any]:
        """Return the difference as `diff --json` prints it."""
        return {
            "changes": [change._asdict() for change in self.changes],
            "lines": [line._asdict() | {"difference": line.difference} for line in self.lines],
            "before": self.before.as_dict(),
            "after": self.after.as_dict(),
        }


def _fields(spec: RunSpec) -> dict[str, object]:
    parts = {"model": dict(spec.model), "train": flat(spec.train)}
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def _at_peak(estimate: Estimate) -> dict[str, int]:
    sums: dict[str, int] = {}
    for line in estimate.at_peak():
        sums[line.name] = sums.get(line.name, 0) + line.bytes
    return sums
