"""metrics.jsonl: one JSON line per optimizer step and per evaluation, each exactly once, also after a resume.

`step` counts completed optimizer steps: the line of the first step says 1, the evaluation of the untrained model 0.
"""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any, Self

from fwplan.errors import FwplanError
from fwplan.files import replace_atomically

if TYPE_CHECKING:
    from pathlib import Path


class Metrics:
    """A run's metrics: what the file holds, and the file open for more."""

    def __init__(self, path: Path, *, keep_up_to: int | None) -> None:
        """Open path; of lines that are there already keep those up to that step (None: none), and drop the others."""
        self.path = path
        self.first_loss: float | None = None
        self.last_loss: float | None = None
        self.first_val_loss: float | None = None
        self.last_val_loss: float | None = None
        self.best_val_loss: float | None = None
        self.evaluated: set[int] = set()
        kept = [] if keep_up_to is None else [line for line in _read(path) if line["step"] <= keep_up_to]
        for line in kept:
            self._remember(line)
        try:
            replace_atomically(path, lambda file: file.writelines(_encode(line) for line in kept))
            self._file = path.open("ab")
        except OSError as error:
            raise self._cannot_write(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, line: dict[str, Any]) -> None:
        """Append one line and hand it to the system, so that a killed process loses none."""
        try:
            self._file.write(_encode(line))
            self._file.flush()
        except OSError as error:
            raise self._cannot_write(error) from error
        self._remember(line)

    def sync(self) -> None:
        """Put all lines on disk: before a checkpoint, which must not be ahead of them after a power cut."""
        os.fsync(self._file.fileno())

    def _remember(self, line: dict[str, Any]) -> None:
        if "val_loss" in line:
            self.last_val_loss = line["val_loss"]
            self.first_val_loss = line["val_loss"] if self.first_val_loss is None else self.first_val_loss
            self.best_val_loss = min(line["val_loss"], self.best_val_loss or line["val_loss"])
            self.evaluated.add(line["step"])
        else:
            self.last_loss = line["loss"]
            self.first_loss = line["loss"] if self.first_loss is None else self.first_loss

    def _cannot_write(self, error: OSError) -> FwplanError:
        return FwplanError(
            f"cannot write {self.path.name}: {error.strerror}",
            where=str(self.path),
            hint="free some space there, then go on with --resume",
        )


def _encode(line: dict[str, Any]) -> bytes:
    return json.dumps(line, allow_nan=False).encode() + b"\n"


def _read(path: Path) -> list[dict[str, Any]]:
    """Return the file's whole lines; a line that a kill cut short is left out."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_bytes().splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("step"), int) and ("loss" in line or "val_loss" in line):
            lines.append(line)
    return lines
