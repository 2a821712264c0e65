"""Changes to a run as they are printed, and the command that applies one."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from rich.markup import escape

from fwplan.console.terminal import WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.planning.fixes import Fix


def slower_text(fix: Fix) -> str:
    """Return what a change costs or saves in time, for the same tokens."""
    if fix.slower is None:
        return "unknown"
    return f"{fix.slower:+.0%}" if round(fix.slower, 2) else "same"


def command_lines(command: str) -> Iterator[str]:
    """Yield a command to type, indented; one too long for the terminal goes on after a backslash."""
    rows = textwrap.wrap(
        command,
        WIDTH - 4,
        break_long_words=False,
        break_on_hyphens=False,
        initial_indent="  ",
        subsequent_indent="    ",
    )
    for row in rows[:-1]:
        yield f"{escape(row)} \\"
    yield escape(rows[-1])
