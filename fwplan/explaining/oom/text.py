"""A log's text, from a file, a pipe or standard input: its beginning and its end, without what others put around it."""

from __future__ import annotations

import re
import sys
from html import unescape
from typing import TYPE_CHECKING, BinaryIO

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from pathlib import Path

# Bytes, both even for UTF-16's sake. A log may be of any size: the settings are first, the error is last.
HEAD_BYTES, TAIL_BYTES = 512 * 1024, 4 * 1024 * 1024
STDIN = "-"


def name_of(path: Path) -> str:
    """Return what a log is called in print."""
    return "standard input" if str(path) == STDIN else repr(str(path))


def log_text(path: Path) -> str:
    """Return the text of a log; "-" is standard input.

    Raises:
        FwplanError: it cannot be read.
    """
    try:
        head, tail, whole = _opened(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FwplanError(
            f"cannot read {name_of(path)}: {reason}", hint="name the training log: --log train.log, or - for a pipe"
        ) from None
    encoding = _encoding(head)
    between = "" if whole else "\n"
    return _clean((head + between.encode(encoding) + tail).decode(encoding, errors="replace"))


def _opened(path: Path) -> tuple[bytes, bytes, bool]:
    if str(path) != STDIN:
        with path.open("rb") as file:
            return _ends(file)
    if sys.stdin is None:  # closed by who started this process
        raise ValueError("it is closed")
    return _ends(sys.stdin.buffer)


def _ends(file: BinaryIO) -> tuple[bytes, bytes, bool]:
    """Return the first and the last bytes, and whether nothing is missing between them."""
    head = file.read(HEAD_BYTES)
    if file.seekable():
        start = max(len(head), (file.seek(0, 2) - TAIL_BYTES) & ~1)
        file.seek(start)
        return head, file.read(TAIL_BYTES + 1), start == len(head)
    tail, left_out = b"", 0
    while chunk := file.read(TAIL_BYTES):
        tail += chunk
        cut = max(0, len(tail) - TAIL_BYTES)
        cut += cut & 1
        tail, left_out = tail[cut:], left_out + cut
    return head, tail, not left_out


def _encoding(head: bytes) -> str:
    """Return what wrote the text: PowerShell's > writes UTF-16, and its >> no mark before it."""
    if head.startswith(b"\xff\xfe") or head[1:2] == b"\0":
        return "utf-16-le"
    if head.startswith(b"\xfe\xff") or head[:1] == b"\0":
        return "utf-16-be"
    return "utf-8"


_COLOUR = r"\x1b\[[0-9;]*m"
_PREFIX = re.compile(rf"^(?:\[?(?:default)?\[?(?:rank)?\d+\]?:\s?|{_COLOUR})+|{_COLOUR}", re.MULTILINE)
_MARKUP = re.compile(r"</?(?:span|pre|div|code|b|p|br)\b[^<>]{0,200}>")  # of a notebook that was saved as a page


def _clean(text: str) -> str:
    """Return a log without colours, a page's markup and torchrun's "[rank0]: " before each line."""
    if _MARKUP.search(text):
        text = unescape(_MARKUP.sub("", text))
    return _PREFIX.sub("", text.removeprefix("\ufeff").replace("\r", "\n"))
