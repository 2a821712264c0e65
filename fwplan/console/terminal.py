"""Printing lines of rich's markup, and errors as such lines. The only place here that has a console."""

from __future__ import annotations

import os
import textwrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fwplan.errors import FwplanError

WIDTH = 80


def show(lines: Iterable[str], *, to_stderr: bool = False) -> None:
    """Print lines of markup; never wrapped or re-coloured by rich, plain where NO_COLOR is set or nobody looks."""
    console = Console(
        stderr=to_stderr,
        highlight=False,
        soft_wrap=True,
        emoji=False,
        width=WIDTH,
        force_terminal=False if os.environ.get("NO_COLOR") else None,
    )
    for line in lines:
        console.print(line)


def error_lines(error: FwplanError) -> Iterator[str]:
    """Yield an error as what is wrong, where, and what to do next."""
    yield from _said("error:", "bold red", error.message)
    if error.where:
        yield f"  [blue]-->[/] {escape(error.where)}"
    yield from _said("hint:", "bold", error.hint)


def _said(word: str, style: str, text: str) -> Iterator[str]:
    """Yield a coloured word and what it says, wrapped to the terminal; a command to type stays in one piece."""
    width = WIDTH - len(word) - 1
    lines = [text] if len(text) <= width or "fwplan " in text else _wrapped(text, width)
    yield f"[{style}]{word}[/] {escape(lines[0])}"
    yield from (f"{' ' * len(word)} {escape(line)}" for line in lines[1:])


def _wrapped(text: str, width: int) -> list[str]:
    return textwrap.wrap(
        text, width, break_long_words=False, break_on_hyphens=False, expand_tabs=False, replace_whitespace=False
    ) or [text]


def note_lines(notes: Iterable[str]) -> Iterator[str]:
    """Yield notes, dimmed and wrapped to the terminal."""
    for note in notes:
        for line in textwrap.wrap(f"note: {note}", WIDTH, subsequent_indent="      "):
            yield f"[dim]{escape(line)}[/]"


def unsaved_lines(error: FwplanError | None) -> Iterator[str]:
    """Yield why what was measured could not be kept: what was asked for is done all the same."""
    if error is not None:
        yield from note_lines([f"{error.message}: {error.where}", f"the next estimate learns nothing; {error.hint}"])
