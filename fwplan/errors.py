"""The one error that fwplan raises for bad input, and the exit codes the command line returns."""

from __future__ import annotations

from enum import IntEnum
from functools import partial
from typing import Any


class ExitCode(IntEnum):
    """What the process says to a script that called it."""

    OK = 0
    USAGE = 2
    DOES_NOT_FIT = 3
    UNDECIDABLE = 4
    MISSING = 5
    INTERRUPTED = 130


class FwplanError(Exception):
    """Bad input or an environment that cannot serve it: what, where, and what to do next.

    Attributes:
        message: one sentence that says what is wrong, repeating the input.
        where: file, file:line or field the message is about, or None.
        hint: the one thing to do next.
        exit_code: what the command line returns.
    """

    def __init__(
        self, message: str, *, hint: str, where: str | None = None, exit_code: ExitCode = ExitCode.USAGE
    ) -> None:
        super().__init__(message)
        self.message = message
        self.where = where
        self.hint = hint
        self.exit_code = exit_code

    def __reduce__(self) -> tuple[Any, ...]:  # so that a worker process can hand it on
        again = partial(type(self), hint=self.hint, where=self.where, exit_code=self.exit_code)
        return again, (self.message,)

    def __str__(self) -> str:
        lines = [self.message]
        if self.where:
            lines.append(f"  --> {self.where}")
        lines.append(f"hint: {self.hint}")
        return "\n".join(lines)
