"""No worker without its campaign: a killed campaign takes its worker along, so that the GPU is free again."""

from __future__ import annotations

import contextlib
import ctypes
import signal
import sys

_PARENT_DEATH_SIGNAL = 1  # prctl's PR_SET_PDEATHSIG


def die_with_parent() -> None:
    """Ask Linux to kill this process when the one that started it dies; elsewhere nothing is asked."""
    if sys.platform != "linux":  # Windows has neither this library nor SIGKILL
        return
    with contextlib.suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
