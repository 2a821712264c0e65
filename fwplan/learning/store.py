"""Past runs on disk: one line of JSON for each measurement, appended in one write."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.files import state_folder
from fwplan.learning.measurement import Measurement

if TYPE_CHECKING:
    from pathlib import Path


def store_path() -> Path:
    """Return the file that measurements are kept in."""
    return state_folder() / "measurements.jsonl"


def record(measurement: Measurement) -> Path:
    """Append a measurement to the store, as one line in one write, and return the store's path.

    Where a crash or a full disk cut the last line short, that line is ended first: it is lost, this one is not.

    Raises:
        FwplanError: the store cannot be written; names it.
    """
    path = store_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as store:
            torn = store.tell() > 0 and store.seek(-1, os.SEEK_END) >= 0 and store.read() != b"\n"
            store.write(b"\n" * torn + measurement.model_dump_json().encode() + b"\n")
    except OSError as error:
        raise FwplanError(
            f"cannot save the measurement: {error.strerror}",
            where=str(path),
            hint="set FWPLAN_HOME to a folder that can be written",
        ) from error
    return path


@dataclass(frozen=True)
class Store:
    """What the store holds: the runs, oldest first, and how many of its lines teach nothing."""

    measurements: tuple[Measurement, ...] = ()
    unreadable: int = 0  # of another version, cut short by a crash, or no measurement at all
    odd: int = 0  # no step can have taken that


def load_measurements() -> list[Measurement]:
    """Return all stored measurements that can be learned from, oldest first.

    Raises:
        FwplanError: the store exists but cannot be read.
    """
    return list(read_store().measurements)


def read_store() -> Store:
    """Return what the store holds; its file is parsed once, until it changes.

    Raises:
        FwplanError: the store exists but cannot be read.
    """
    path = store_path()
    try:
        if not path.is_file():
            return Store()
        now = path.stat()
        return _parsed(path, (now.st_mtime_ns, now.st_size))
    except OSError as error:
        raise FwplanError(
            f"cannot read past measurements: {error.strerror}",
            where=str(path),
            hint="set FWPLAN_HOME to a folder that can be read",
        ) from error


@lru_cache(maxsize=1)
def _parsed(path: Path, _version: tuple[int, int]) -> Store:
    read = [_measurement(line) for line in path.read_bytes().splitlines() if line.strip()]
    found = [measurement for measurement in read if measurement is not None]
    kept = tuple(measurement for measurement in found if not measurement.is_odd)
    return Store(kept, unreadable=len(read) - len(found), odd=len(found) - len(kept))


def _measurement(line: bytes) -> Measurement | None:
    try:
        return Measurement.model_validate_json(line)
    except ValidationError:
        return None
