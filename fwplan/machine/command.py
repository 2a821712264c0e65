"""Asking a driver's own program."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import TypeAlias

Runner: TypeAlias = Callable[[list[str]], str | None]

_SECONDS = 5.0


def run_command(command: list[str]) -> str | None:
    """Return a command's standard output; None where it is missing, fails or takes more than five seconds."""
    executable = shutil.which(command[0])
    if executable is None:
        return None
    try:
        done = subprocess.run(
            [executable, *command[1:]],
            capture_output=True,
            timeout=_SECONDS,
            check=True,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
