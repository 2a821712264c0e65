"""What somebody wants measured, and the report of it: from a request's words to a campaign and back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.errors import ExitCode, FwplanError
from fwplan.learning.campaign import Campaign, Limits
from fwplan.learning.grid import full_grid, small_grid
from fwplan.learning.result_file import ResultFile
from fwplan.learning.summary import ModeRow, summarise
from fwplan.learning.worker import ask_about
from fwplan.machine.target import Target, detected, this_cpu
from fwplan.spec import DeviceSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fwplan.learning.result import Result, Setup
    from fwplan.spec import RunSpec

_GRIDS = {"small": small_grid, "full": full_grid}
FULL_GRID_SECONDS = 25 * 60.0  # unless somebody says otherwise: what is left then is for another time


@dataclass(frozen=True)
class MeasureRequest:
    """What to measure and where; times in seconds, None: no limit of its own."""

    grid: str | None
    specs: tuple[RunSpec, ...]
    device: str | None
    output: Path
    timeout: float
    budget: float | None
    command: str  # what was typed, to type again


@dataclass(frozen=True)
class MeasureReport:
    """A finished campaign: its results by mode, where they are, and what it left undone."""

    rows: tuple[ModeRow, ...]
    output: Path
    device: str
    known: int  # specs that had a result before
    left: int  # for lack of time
    command: str  # goes on
    problem: FwplanError | None  # nothing was measured
    unsaved: FwplanError | None = None  # why the store for estimates could not be written


def run_request(request: MeasureRequest) -> MeasureReport:
    """Return the report of a request, after measuring what has no result yet.

    Raises:
        FwplanError: no such grid or device, or the results file cannot be used.
    """
    _refuse(request)
    machine = ask_about(request.device)
    wanted = [*request.specs, *_grid(request.grid, machine)]
    results = ResultFile(request.output)
    campaign = Campaign(machine, _target(machine), results, Limits(request.timeout, _budget(request)))
    pending = campaign.pending(wanted)
    left = campaign.run(pending)
    asked = [results.results[name] for name in campaign.keys(wanted) if name in results.results]
    return MeasureReport(
        rows=tuple(summarise(asked)),
        output=request.output,
        device=machine.device_name,
        known=len(asked) - (len(pending) - left),
        left=left,
        command=request.command,
        problem=_nothing_measured(asked),
        unsaved=campaign.unsaved,
    )


def _refuse(request: MeasureRequest) -> None:
    if request.grid not in (None, *_GRIDS):
        raise FwplanError(f"unknown grid {request.grid!r}", hint="use small or full")
    if request.device not in (None, "cpu", "cuda"):
        raise FwplanError(f"cannot measure on device {request.device!r}", hint="use cpu or cuda")
    if not math.isfinite(request.timeout):
        raise FwplanError(f"--timeout must be a number of seconds, not {request.timeout}", hint="300 is the default")
    if request.grid == "full" and request.device == "cpu":
        raise _too_slow()


def _too_slow() -> FwplanError:
    return FwplanError("the full grid is for a CUDA GPU: a CPU would take days", hint="use --grid small")


def _grid(name: str | None, machine: Setup) -> list[RunSpec]:
    if name == "full" and machine.device_type == "cpu":
        raise _too_slow()
    return _GRIDS[name]() if name else []


def _budget(request: MeasureRequest) -> float | None:
    return FULL_GRID_SECONDS if request.budget is None and request.grid == "full" else request.budget


def _target(machine: Setup) -> Target:
    """Return the device with its speed, as far as known: the ETA goes by it."""
    if machine.device_type == "cpu":
        return this_cpu()
    return detected() or Target(DeviceSpec(type="cuda"))


def _nothing_measured(results: Sequence[Result]) -> FwplanError | None:
    """Return why a campaign has nothing to show, or None where at least one spec was measured."""
    if any(result.status == "measured" for result in results):
        return None
    if not results:
        return FwplanError("no spec was measured: the budget is too short", hint="give it more: --budget MINUTES")
    return FwplanError(
        f"no spec was measured; the first one: {results[0].error}",
        hint="the results file says more of each; fwplan explain SPEC says what would change it",
        exit_code=ExitCode.DOES_NOT_FIT if all(result.oom for result in results) else ExitCode.USAGE,
    )
