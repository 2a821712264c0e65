"""Ctrl-C that waits for a safe point: between two steps, where weights, moments and counters agree."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType


class InterruptedAtSafePointError(KeyboardInterrupt):
    """A KeyboardInterrupt raised where the run's state is whole and can be saved."""


class DeferredInterrupt:
    """While entered, the first Ctrl-C is held back until check(); a second one interrupts at once.

    An interrupt in the middle of an optimizer step would leave some weights updated and others not, a state that was
    never part of the run. Outside the main thread, where Python allows no handler, nothing is held back.
    """

    def __init__(self) -> None:
        self.requested = False
        self._previous: Any = None
        self._installed = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGINT, self._hold)
            self._installed = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._installed:
            signal.signal(signal.SIGINT, self._previous)

    def check(self) -> None:
        """Raise InterruptedAtSafePointError if Ctrl-C was pressed."""
        if self.requested:
            raise InterruptedAtSafePointError

    def _hold(self, _signal: int, _frame: FrameType | None) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
        # not through print: a signal may arrive while that very stream is being written
        os.write(2, b"\nstopping after this step, with a checkpoint; Ctrl-C again stops at once\n")
