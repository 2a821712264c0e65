"""The comments of a Python file, with their lines."""

from __future__ import annotations

import io
import tokenize
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text without "#") of every comment at module level; what follows text that is no Python is left out.

    A comment in a block is about that block's code: what a function does, or a table of other models.
    """
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            if token.type == tokenize.COMMENT and not token.line[:1].isspace():
                yield token.start[0], token.string.lstrip("#").strip()
    except (tokenize.TokenError, SyntaxError):
        return
