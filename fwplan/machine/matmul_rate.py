"""How fast this machine's processor multiplies matrices: timed once and kept, so that two estimates agree."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.files import state_folder, write_json
from fwplan.machine.cpu import sgemm_flops

if TYPE_CHECKING:
    from pathlib import Path

    from fwplan.machine.cpu import Cpu

_FILE = "processors.json"  # beside past runs: what was timed, by processor
_SECONDS = 0.15  # longer than a look at the machine takes: it is done once


def kept_rate(cpu: Cpu) -> float | None:
    """Return FLOP/s of the processor's fp32 matrix product, as it was timed first; None without numpy.

    Within a process, and with a store that can be written from one to the next, it is the same each time.
    """
    return _rate(_name(cpu))


@cache
def _rate(name: str) -> float | None:
    known = _read(_path()).get(name)
    return known if known is not None else _keep(name, sgemm_flops(_SECONDS))


def keep_faster(cpu: Cpu) -> Cpu:
    """Return the processor after keeping its rate, just timed, if it is the fastest so far.

    What else runs on the machine only ever slows a product: the fastest is nearest to what the processor can do.
    """
    name, timed = _name(cpu), cpu.sgemm_flops
    if timed is not None and timed > _read(_path()).get(name, 0.0):
        _keep(name, timed)
        _rate.cache_clear()
    return cpu


def _name(cpu: Cpu) -> str:
    return f"{cpu.name or 'unknown'}, {cpu.cores} cores"


def _path() -> Path:
    return state_folder() / _FILE


def _keep(name: str, rate: float | None) -> float | None:
    if rate is not None:
        with suppress(OSError, FwplanError):  # a folder that cannot be written: it is timed again next time
            _path().parent.mkdir(parents=True, exist_ok=True)
            write_json(_path(), _read(_path()) | {name: rate})
    return rate


def _read(path: Path) -> dict[str, float]:
    """Return what is known, by processor; what is damaged is as good as not there."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    return {name: rate for name, rate in found.items() if isinstance(rate, float) and 0 < rate < math.inf}
