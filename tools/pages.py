"""The commands that README.md and docs/ tell people to type, and what the pages show that they print."""

from __future__ import annotations

import difflib
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
# What a page shows below `$ command` is this golden file, whole or with "..." for what is left out.
GOLDEN = {
    'fwplan explain config.py --gpu "RTX 4070"': "explain-4070",
    "fwplan explain --log train.log config.py": "oom",
    "fwplan diff config.py config.py --gpu 4070 -- --compile=True": "diff",
    "fwplan suggest --vram 12 --tokens 10e9": "suggest-vram-12",
    "fwplan devices 4070": "devices-4070",
    "fwplan doctor": "doctor-4070",
}
LEFT_OUT = "..."


class Command(NamedTuple):
    """A line that a page tells people to type, and what the page shows that it prints."""

    page: Path
    number: int  # of the line, from 0
    line: str
    output: tuple[str, ...] = ()

    @property
    def words(self) -> list[str]:
        """The command as a shell takes it, without its comment."""
        return shlex.split(self.line, comments=True)


def commands(*first: str) -> list[Command]:
    """Return the commands of all pages that begin with these words, each once."""
    found = (one for page in PAGES for one in (*in_blocks(page), *_in_text(page)) if one.words[0] in first)
    return list({tuple(one.words): one for one in found}.values())


def in_blocks(page: Path) -> Iterator[Command]:
    """Yield the commands in indented blocks; those after a $ with the lines that follow."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        if found := re.fullmatch(r" {4}(\$ )?((?:fwplan|make|python) .*)", line):
            rest = lines[number + 1 :] if found[1] else []
            end = next((n for n, one in enumerate(rest) if re.match(r" {0,3}\S| {4}\$ ", one)), len(rest))
            while end and not rest[end - 1]:
                end -= 1
            yield Command(page, number, found[2], tuple(one.removeprefix("    ") for one in rest[:end]))


def _in_text(page: Path) -> Iterator[Command]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"(?<!`)`((?:fwplan|make|python)\s[^`]+)`", text):
        yield Command(page, text.count("\n", 0, found.start()), " ".join(found[1].split()))


def missing(shown: Sequence[str], golden: Sequence[str]) -> list[str]:
    """Return the first part of what a page shows that a golden file does not have, in order; nothing where it has all.

    What the page shows begins as the golden file does and, unless it leaves something out, ends so.
    """
    position = 0
    for start, end in _parts(shown):
        part = list(shown[start:end])
        found = _find(part, golden, position)
        if found is None or (start == 0 and found) or (end == len(shown) and found + len(part) != len(golden)):
            return part
        position = found + len(part)
    return []


def refresh(page: Path, name: str, was: Sequence[str], now: Sequence[str]) -> None:
    """Write into a page what a golden file holds now where the page shows what it held, with the same left out."""
    lines = page.read_text(encoding="utf-8").splitlines()
    for command in reversed(list(in_blocks(page))):
        if GOLDEN.get(command.line) == name and not missing(command.output, was):
            start = command.number + 1
            lines[start : start + len(command.output)] = [
                f"    {line}".rstrip() for line in _carried(command.output, was, now)
            ]
    page.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _carried(shown: Sequence[str], was: Sequence[str], now: Sequence[str]) -> Iterator[str]:
    """Yield the lines that stand now where those that are shown stood."""
    steps = difflib.SequenceMatcher(None, was, now, autojunk=False).get_opcodes()

    def carried(line: int) -> int:
        for _, first, last, start, end in steps:
            if first <= line < last:
                return min(start + line - first, end)
        return len(now)

    position = done = 0
    for start, end in _parts(shown):
        yield from [LEFT_OUT] * (start - done)
        found = _find(list(shown[start:end]), was, position)
        assert found is not None  # noqa: S101  # missing() said so
        position, done = found + end - start, end
        yield from now[carried(found) : carried(position)]
    yield from [LEFT_OUT] * (len(shown) - done)


def _parts(shown: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the first and the next line of each part between what is left out."""
    cuts = [-1, *(n for n, line in enumerate(shown) if line == LEFT_OUT), len(shown)]
    yield from ((before + 1, cut) for before, cut in pairwise(cuts) if cut > before + 1)


def _find(part: list[str], lines: Sequence[str], start: int) -> int | None:
    return next((n for n in range(start, len(lines)) if list(lines[n : n + len(part)]) == part), None)
