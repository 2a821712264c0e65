"""A campaign: each spec that has no result yet is measured in a process of its own, and its result kept at once."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.learning import worker
from fwplan.learning.cost import expected_seconds
from fwplan.learning.progress import Progress
from fwplan.learning.result import Report, Result, Status, key, predict
from fwplan.learning.store import record
from fwplan.spec import DeviceSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwplan.learning.result import Setup
    from fwplan.learning.result_file import ResultFile
    from fwplan.machine.target import Target
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class Limits:
    """Seconds that one spec may take, and all of them together (None: as many as they need)."""

    spec: float
    whole: float | None


class Campaign:
    """Measures specs on one machine, into one results file, within limits."""

    def __init__(self, machine: Setup, target: Target, results: ResultFile, limits: Limits) -> None:
        """Begin: the clock of `limits.whole` runs from here."""
        self.machine, self.target, self.results, self.limits = machine, target, results, limits
        self.begin = time.monotonic()
        self.unsaved: FwplanError | None = None  # why past runs could not be stored to learn from

    def keys(self, specs: Iterable[RunSpec]) -> list[str]:
        """Return the specs' keys in the results file, each once."""
        return list(dict.fromkeys(key(spec, self.machine) for spec in specs))

    def pending(self, specs: Iterable[RunSpec]) -> list[RunSpec]:
        """Return the specs that have no result yet, each once, on this machine's device and without data."""
        machine = self.machine
        here = DeviceSpec(type=machine.device_type, name=machine.device_name, total_bytes=machine.device_total_bytes)
        distinct = {key(spec, machine): spec for spec in specs}
        return [
            spec.model_copy(update={"device": here, "data": None})
            for name, spec in distinct.items()
            if name not in self.results.results
        ]

    def run(self, specs: Sequence[RunSpec]) -> int:
        """Measure the specs in order and return how many were left for lack of time.

        Raises:
            FwplanError: the results file has become unwritable.
            KeyboardInterrupt: the spec at hand is dropped, the file holds all before it.
        """
        costs = [expected_seconds(spec, self.target) for spec in specs]
        progress = Progress(len(specs), sum(costs))
        left = 0
        for spec, cost in zip(specs, costs, strict=True):
            result = self._result(spec, progress) if cost * progress.pace < self._seconds_left() else None
            if result is None:
                left += 1
                continue
            self._keep(result)
            progress.end(result, cost)
        return left

    def _seconds_left(self) -> float:
        """Return the rest of the budget."""
        return float("inf") if self.limits.whole is None else self.begin + self.limits.whole - time.monotonic()

    def _result(self, spec: RunSpec, progress: Progress) -> Result | None:
        """Return a spec's result, or None where the budget ended in the midst of it."""
        progress.start(spec)
        left = self._seconds_left()
        limit = min(self.limits.spec, left)
        report, ended = worker.measure(spec, limit)
        if report is None and left < self.limits.spec:
            progress.note("the budget is spent")
            return None
        status, error = _judged(report, limit)
        return Result(
            **dict(report or Report()) | {"error": error},
            status=status,
            oom=status == "oom",
            spec=spec,
            machine=self.machine,
            predicted=predict(spec),
            seconds=round(ended.seconds, 2),
            limit_seconds=limit,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            log=worker.log_of(ended) if status in ("failed", "timeout") else None,
        )

    def _keep(self, result: Result) -> None:
        """Append the result to the file, and its measurement to the store that estimates learn from."""
        self.results.append(result)
        measured = result.measurement
        if measured is None or measured.spec.device is None or result.footing is None:
            return
        others = result.footing.device_in_use_before_bytes
        device = measured.spec.device.model_copy(update={"in_use_bytes": others})
        spec = measured.spec.model_copy(update={"device": device})
        try:
            record(measured.model_copy(update={"spec": spec}))
        except FwplanError as error:
            self.unsaved = error


def _judged(report: Report | None, limit: float) -> tuple[Status, str | None]:
    """Return what a report comes to, and the one line that says why nothing was measured."""
    if report is None:
        return "timeout", f"no result after {limit:.0f} s; killed"
    if report.measurement is not None:
        return "measured", None
    if report.shortage is not None:
        return "oom", report.shortage.said
    return "failed", report.error or "too few steps could be measured"
