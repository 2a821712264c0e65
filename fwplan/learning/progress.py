"""What a campaign says on stderr: a line for each spec, begun when it starts and ended with what it took."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fwplan.console.streams import notes
from fwplan.learning.modes import describe
from fwplan.units import duration, gib

if TYPE_CHECKING:
    from fwplan.learning.result import Result
    from fwplan.spec import RunSpec


class Progress:
    """n of m, what is being measured, and when all of it will be done."""

    def __init__(self, count: int, expected: float) -> None:
        """Begin: `count` specs that should take `expected` seconds together."""
        self.count, self.number = count, 0
        self.expected_left, self.expected_done = expected, 0.0
        self.begin = time.monotonic()
        self.stream = notes()

    @property
    def pace(self) -> float:
        """Seconds taken for each that was expected, so far; 1 before anything is done."""
        return (time.monotonic() - self.begin) / self.expected_done if self.expected_done else 1.0

    def start(self, spec: RunSpec) -> None:
        """Say which spec is next."""
        self.number += 1
        self._say(f"[{self.number}/{self.count}] {describe(spec)} ... ")

    def end(self, result: Result, expected: float) -> None:
        """Say what came of it, and when the rest will be done."""
        self.expected_done += expected
        self.expected_left -= expected
        left = f"  ETA {duration(self.expected_left * self.pace)}" if self.number < self.count else ""
        self._say(f"{outcome(result)}, {duration(result.seconds)}{left}\n")

    def note(self, text: str) -> None:
        """Say something on a line of its own."""
        self._say(f"{text}\n")

    def _say(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def outcome(result: Result) -> str:
    """Return a result in a few words: "14.02 GiB, predicted -0.3 %"."""
    if result.measurement is None:
        return f"{result.status}: {result.error}"[:160]
    peak, error = gib(result.measurement.peak_allocated_bytes), result.error_ratio
    return peak if error is None else f"{peak}, predicted {error:+.2%}"
