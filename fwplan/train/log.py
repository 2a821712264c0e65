"""What a run says on stderr while it trains: a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import os
import sys
import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from fwplan.units import duration, si

_LINES_PER_RUN = 20  # plain lines: one every 5 % of the steps
_LINE_SECONDS = 10.0  # and one whenever none was written for so long


class Display:
    """Progress of the steps from `start` to `end`; quiet says nothing at all."""

    def __init__(self, *, start: int, end: int, quiet: bool) -> None:
        self.end = end
        self.quiet = quiet
        self.console = Console(stderr=True, quiet=quiet, highlight=False)
        self.bar: Progress | None = None
        if not quiet and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
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

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def note(self, text: str) -> None:
        """Say something once, above the bar."""
        self.console.print(text, markup=False, soft_wrap=True)

    def evaluation(self, step: int, val_loss: float) -> None:
        """Say what an evaluation after `step` steps found."""
        self.note(f"step {step}/{self.end}  validation loss {val_loss:.4f}")

    def step(self, step: int, loss: float, tokens_per_second: float) -> None:
        """Say that `step` steps are done."""
        figures = f"loss {loss:.4f}  {si(tokens_per_second)} tokens/s  {self._eta(step)}"
        if self.bar is not None:
            self.bar.update(self.task, completed=step, figures=figures)
        elif step == self.end or self._line_is_due(step):
            self.note(f"step {step}/{self.end}  {figures}")
            self.line_step, self.line_time = step, time.monotonic()

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
