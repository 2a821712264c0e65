"""How far a pass over bytes of text is: a bar on a terminal, a line every ten seconds elsewhere. On stderr."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fwplan.console.streams import notes
from fwplan.units import duration

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINE_SECONDS = 10.0
_MB = 10**6


class ByteProgress:
    """Called with (bytes done, bytes in all); says the pace and when it will end."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.console = Console(file=notes(), highlight=False)
        self.bar: Progress | None = None
        if self.console.file.isatty() and os.environ.get("TERM") != "dumb":
            self.bar = Progress(
                TextColumn(label), BarColumn(bar_width=None), TextColumn("{task.fields[figures]}"), console=self.console
            )
            self.task = self.bar.add_task(label, total=None, figures="")
        self.begin: tuple[float, int] | None = None  # when, and how much was done before
        self.line_time = time.monotonic()
        self.lines = False  # whether there were any that want a last one

    def __call__(self, done: int, total: int) -> None:
        """Say that so much is done."""
        now = time.monotonic()
        if self.begin is None:
            self.begin = now, done
        figures = f"{done / _MB:,.0f}/{total / _MB:,.0f} MB{self._pace(now, done, total)}"
        if self.bar is not None:
            self.bar.update(self.task, completed=done, total=total, figures=figures)
        elif now - self.line_time >= _LINE_SECONDS or (self.lines and done == total):
            self.note(f"{self.label} {done / total:.0%}  {figures}")
            self.line_time, self.lines = now, done < total

    def note(self, text: str) -> None:
        """Say something once, above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)

    def _pace(self, now: float, done: int, total: int) -> str:
        seconds, fresh = (now - self.begin[0], done - self.begin[1]) if self.begin else (0.0, 0)
        if not fresh or seconds <= 0:
            return ""
        pace = fresh / seconds
        left = f"  ETA {duration((total - done) / pace)}" if done < total else f"  in {duration(seconds)}"
        return f"  {pace / _MB:,.1f} MB/s{left}"


@contextmanager
def byte_progress(label: str) -> Iterator[ByteProgress]:
    """Yield a ByteProgress, drawn while the block runs."""
    progress = ByteProgress(label)
    if progress.bar is None:
        yield progress
        return
    with progress.bar:
        yield progress
