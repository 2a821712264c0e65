"""Ctrl-C, SIGTERM and SIGHUP wait for a safe point: between two steps, where weights, moments and counters agree."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from typing import TYPE_CHECKING, Self

from fwplan.signals import handled_by

if TYPE_CHECKING:
    from types import FrameType


class InterruptedAtSafePointError(KeyboardInterrupt):
    """A KeyboardInterrupt raised where the run's state is whole and can be saved."""


class DeferredInterrupt:
    """While entered, the first signal to stop is held back until check(); a Ctrl-C after it interrupts at once.

    An interrupt in the middle of an optimizer step would leave some weights updated and others not, a state that was
    never part of the run. Outside the main thread, where Python allows no handler, nothing is held back.
    """

    def __init__(self) -> None:
        self.requested = False
        self._handled = handled_by(self._hold)

    def __enter__(self) -> Self:
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def check(self) -> None:
        """Raise InterruptedAtSafePointError if a signal to stop has come."""
        if self.requested:
            raise InterruptedAtSafePointError

    def _hold(self, number: int, _frame: FrameType | None) -> None:
        if not self.requested:
            self.requested = True
            _say(f"\nstopping after this step, with a checkpoint; Ctrl-C {_again(number)}stops at once\n")
        elif number == signal.SIGINT:  # schedulers repeat a SIGTERM while the checkpoint is being written
            raise KeyboardInterrupt


def _again(number: int) -> str:
    return "again " if number == signal.SIGINT else ""


def _say(text: str) -> None:
    """Write to stderr: not through print, for the signal may have come while that very stream was being written."""
    if sys.__stderr__ is not None:  # else descriptor 2 is closed, or some other file's
        with contextlib.suppress(OSError):  # SIGHUP: the terminal is gone
            os.write(2, text.encode())
