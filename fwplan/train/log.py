"""What a run says while it trains: a progress bar on a terminal, plain lines elsewhere, and those in its log too."""

from __future__ import annotations

import contextlib
import os
import time
from datetime import datetime
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fwplan.console.streams import notes
from fwplan.units import duration, si

if TYPE_CHECKING:
    from pathlib import Path

_LINES_PER_RUN = 20  # plain lines: one every 5 % of the steps
_LINE_SECONDS = 10.0  # and one whenever none was written for so long


def note(text: str, *, quiet: bool) -> None:
    """Say something on stderr before there is a Display."""
    Console(file=notes(), quiet=quiet, highlight=False).print(text, markup=False, soft_wrap=True)


class Display:
    """Progress of the steps from `start` to `end`, on stderr unless quiet, and at the end of the file `log`.

    A stderr that is gone ends nothing: the file has every line, and why the run ended.
    """

    def __init__(self, *, start: int, end: int, quiet: bool, log: Path | None = None) -> None:
        self.end = end
        self.log = log
        self.console = Console(file=notes(), quiet=quiet, highlight=False)
        self.bar: Progress | None = None
        if not quiet and self.console.file.isatty() and os.environ.get("TERM") != "dumb":
            self.bar = _bar(self.console)
            self.task = self.bar.add_task("", total=end, completed=start, figures="")
        self.lines_every = max((end - start) // _LINES_PER_RUN, 1)
        self.line_step, self.line_time = start, time.monotonic()
        self.paced_step: int | None = None  # where the pace is counted from: after the first step, which compiles
        self.paced_time = 0.0

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        if self.bar is not None:
            self.bar.stop()
        if isinstance(error, Exception):  # its reader may be gone
            self._keep(f"error: {error}")

    def note(self, text: str) -> None:
        """Say something once, above the bar."""
        self._print(text)
        self._keep(text)

    def evaluation(self, step: int, val_loss: float) -> None:
        """Say what an evaluation after `step` steps found."""
        self.note(f"step {step}/{self.end}  validation loss {val_loss:.4f}")

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Say that `step` steps are done."""
        figures = f"loss {loss:.4f}  {si(tokens_per_second)} tokens/s  {self._eta(step)}"
        if self.bar is not None:
            self.bar.update(self.task, completed=step, figures=figures)
        if step == self.end or self._line_is_due(step):
            line = f"step {step}/{self.end}  {figures}"
            self._keep(line)
            if self.bar is None:
                self._print(line)
            self.line_step, self.line_time = step, time.monotonic()

    def _print(self, text: str) -> None:
        self.console.print(text, markup=False, soft_wrap=True)

    def _keep(self, text: str) -> None:
        if self.log is None:
            return
        with contextlib.suppress(OSError), self.log.open("a", encoding="utf-8") as log:  # metrics.jsonl says disk full
            log.write(f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}  {text}\n")

    def _line_is_due(self, step: int) -> bool:
        return step - self.line_step >= self.lines_every or time.monotonic() - self.line_time >= _LINE_SECONDS

    def _eta(self, step: int) -> str:
        """Return how long the rest will take at the pace so far, evaluations included."""
        now = time.monotonic()
        if step >= self.end:
            return "done"
        if self.paced_step is None:
            self.paced_step, self.paced_time = step, now
            return "ETA -"
        seconds = (now - self.paced_time) / (step - self.paced_step)
        return f"ETA {duration((self.end - step) * seconds)}"


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[figures]}"),
        console=console,
        expand=True,
    )
