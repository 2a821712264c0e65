"""Predicted beside measured: what `fwplan measure` found on real devices, from its results files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from report import RESULTS, error_summary

from fwplan.errors import FwplanError
from fwplan.learning.modes import describe, modes
from fwplan.learning.result import predict
from fwplan.learning.result_file import ResultFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from fwplan.learning.result import Result


@dataclass(frozen=True)
class CampaignRow:
    """One measured peak and today's prediction of it, in bytes. error is (predicted - measured) / measured."""

    device: str
    torch: str
    spec: str
    modes: tuple[str, ...]
    measured_bytes: int
    predicted_bytes: int
    in_interval: bool | None  # whether the estimate's own interval holds the measured peak; None: it has none

    @property
    def error(self) -> float:
        """Signed relative error of the prediction."""
        return self.predicted_bytes / self.measured_bytes - 1

    @property
    def kind(self) -> str:
        """Eager or compiled, or an evaluation."""
        return self.modes[0]

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the result file keeps it."""
        return {
            "device": self.device,
            "torch": self.torch,
            "spec": self.spec,
            "kind": self.kind,
            "measured_bytes": self.measured_bytes,
            "predicted_bytes": self.predicted_bytes,
            "error": round(self.error, 6),
            "in_interval": self.in_interval,
        }


def campaign_rows(paths: Sequence[Path]) -> list[CampaignRow]:
    """Return the rows of these results files, or of all under benchmarks/results; what has no prediction is left out.

    Raises:
        FwplanError: a file is missing, or holds something else.
    """
    rows: list[CampaignRow] = []
    for path in paths or sorted(RESULTS.glob("*.jsonl")):
        if not path.is_file():
            raise FwplanError(f"no results file {path}", hint="fwplan measure -o results.jsonl writes one")
        for result in ResultFile(path).results.values():
            rows += _rows(result)
    return rows


def _rows(result: Result) -> Iterator[CampaignRow]:
    """Yield the step's peak and, where it was measured, the evaluation's own."""
    predicted = predict(result.spec)
    if result.measurement is None or predicted is None:
        return
    device, torch, spec = result.machine.device_name, result.machine.versions.get("torch", "?"), describe(result.spec)
    measured, (low, high) = result.measurement.peak_allocated_bytes, predicted.interval
    yield CampaignRow(
        device, torch, spec, tuple(modes(result.spec)), measured, predicted.allocated_bytes, low <= measured <= high
    )
    if result.evaluation_peak_bytes and predicted.evaluation_bytes:
        own = ("an evaluation's own peak",)
        yield CampaignRow(device, torch, spec, own, result.evaluation_peak_bytes, predicted.evaluation_bytes, None)


def by_mode(rows: Iterable[CampaignRow]) -> dict[str, dict[str, float | int]]:
    """Return the size of the error in each mode, in order of appearance; a row counts in each of its modes."""
    errors: dict[str, list[float]] = {}
    for row in rows:
        for mode in row.modes:
            errors.setdefault(mode, []).append(row.error)
    return {mode: error_summary(found) for mode, found in errors.items()}
