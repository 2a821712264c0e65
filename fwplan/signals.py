"""The signals that ask a process to stop: Ctrl-C, a scheduler's SIGTERM, the SIGHUP of a terminal that is gone."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

    Handler = Callable[[int, FrameType | None], None]

STOP = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


@contextmanager
def handled_by(handler: Handler, signals: tuple[signal.Signals, ...] = STOP) -> Iterator[None]:
    """Have signals handled so while the block runs; outside the main thread, where Python allows none, nothing is done.

    A SIGTERM or SIGHUP that is ignored stays ignored: so nohup asks.
    """
    before: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        before = {number: was for number in signals if _is_ours(number, was := signal.getsignal(number))}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, was in before.items():
            signal.signal(number, was)


def _is_ours(number: signal.Signals, was: Any) -> bool:
    if was is None:  # not installed by Python, which could not put it back
        return False
    return was is not signal.SIG_IGN or number is signal.SIGINT  # a shell ignores that for what it starts with "&"


@contextmanager
def ending_as_ctrl_c_does() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt the block as Ctrl-C does, once; what comes after the first is ignored."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # a scheduler says it twice
        raise KeyboardInterrupt

    with handled_by(interrupt, tuple(number for number in STOP if number is not signal.SIGINT)):
        yield
