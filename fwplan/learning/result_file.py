"""A results file: JSON lines, each written whole and at once, so that a killed campaign leaves a file to go on with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.learning.result import Result

if TYPE_CHECKING:
    from pathlib import Path


class ResultFile:
    """The results in a file, by key, and the file to append more to."""

    def __init__(self, path: Path) -> None:
        """Read what is there. A last line that a kill cut short is left as it is, and passed over.

        Raises:
            FwplanError: the file cannot be written, or holds something else.
        """
        self.path = path
        self._held = b""
        try:
            path.open("ab").close()  # so that a place that cannot be written is known before any work
            self._held = path.read_bytes()
        except OSError as error:
            raise self._unusable(error) from None
        parsed = [_parse(line) for line in self._held.splitlines()]
        self.results = {result.key: result for result in parsed if result is not None}
        if self._held.strip() and not self.results:
            raise FwplanError(
                f"{path} holds no results of this version of fwplan measure",
                hint="choose another place: -o results2.jsonl",
            )

    def append(self, result: Result) -> None:
        """Add a result, and hand it to the system before returning.

        Raises:
            FwplanError: the disk is full, or the file has become unwritable.
        """
        fresh_line = b"" if not self._held or self._held.endswith(b"\n") else b"\n"
        line = result.model_dump_json().encode() + b"\n"
        try:
            with self.path.open("ab", buffering=0) as file:
                file.write(fresh_line + line)
        except OSError as error:
            raise self._unusable(error) from None
        self._held = line
        self.results[result.key] = result

    def _unusable(self, error: OSError) -> FwplanError:
        return FwplanError(
            f"cannot write results to {str(self.path)[:80]!r}: {error.strerror}",
            hint="choose another place: -o results.jsonl",
        )


def _parse(line: bytes) -> Result | None:
    try:
        return Result.model_validate_json(line)
    except ValidationError:
        return None
