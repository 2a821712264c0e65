"""Streams whose reader may leave: `| head -1`, a tee that ended, a terminal that hung up. Work goes on without it."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TextIO, cast

if TYPE_CHECKING:
    from collections.abc import Iterator


class _Leavable:
    """A text stream that is silent from the moment on when its reader has left; None is silent from the start."""

    def __init__(self, stream: TextIO | None, *, every_error: bool) -> None:
        self._stream = stream
        self._every_error = every_error  # is taken for a reader that left; else a full disk, say, is an error
        self._left = stream is None

    def write(self, text: str) -> int:
        with self._unless_left() as stream:
            stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._unless_left() as stream:
            stream.flush()

    def isatty(self) -> bool:
        return self._stream is not None and not self._left and self._stream.isatty()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _unless_left(self) -> Iterator[TextIO]:
        stream = cast("TextIO", _Nowhere() if self._left else self._stream)
        try:
            yield stream
        except (OSError, ValueError) as error:  # ValueError: somebody closed it
            if not self._every_error and getattr(error, "errno", None) != errno.EPIPE:
                raise
            self._left = True
            _point_to_nothing(stream)


class _Nowhere:
    def write(self, _text: str) -> None:
        """Drop the text."""

    def flush(self) -> None:
        """Do nothing."""


def _point_to_nothing(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere: Python flushes it once more at its end, and would complain."""
    with suppress(OSError, ValueError):
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def answers() -> TextIO:
    """Return stdout, whose reader may leave; that it cannot be written for another reason, a full disk, is an error."""
    stream = sys.stdout
    return _leavable(stream, every_error=stream is not None and stream.isatty())  # a terminal hangs up with EIO


def notes() -> TextIO:
    """Return stderr, which nothing depends on: if it cannot be written it is silent."""
    return _leavable(sys.stderr, every_error=True)


def _leavable(stream: TextIO | None, *, every_error: bool) -> TextIO:
    if isinstance(stream, _Leavable):
        return cast("TextIO", stream)
    return cast("TextIO", _Leavable(stream, every_error=every_error))
