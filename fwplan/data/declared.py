"""What a token_count column says, and whether that is true in every file."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from fwplan.data.parquet import Source, Window
from fwplan.data.rows import read_window, token_counts

if TYPE_CHECKING:
    from collections.abc import Callable

TOLERANCE = 0.005  # of a file's tokens; a column that is GPT-2's agrees to the token
MOST_FILES = 512  # that are looked into, about 10 ms each
_PLACES = 256  # in all of them, at most
_PLACES_IN_A_FILE = 8
_ROWS = 8  # at a place
_CHARS = 2**21  # of text in all, but for one document of each file
_SKIPPED_BYTES = 2**25  # of a large row group, at most: to reach a row is to read all before it
_SEED = 0  # the same files are looked into at the same places


class Checked(NamedTuple):
    """What was looked at of the token_count columns."""

    files: int
    documents: int
    tokens: int  # of these documents, end-of-text included
    bytes: int
    wrong: list[tuple[Source, float]]  # files whose column is off, and by how much of their tokens


def declared_tokens(sources: list[Source]) -> tuple[int, int] | None:
    """Return (GPT-2 tokens with end-of-text, documents) by the token_count columns; None unless every file has one.

    A row without text has a token_count of 0 or null, and is no document.
    """
    if not all(source.has_token_count for source in sources):
        return None
    import pyarrow.compute as pc  # noqa: PLC0415  # 0.08 s, which no worker process needs

    columns = [token_counts(source) for source in sources]
    tokens = sum(pc.sum(column, min_count=0).as_py() for column in columns)
    documents = sum(pc.sum(pc.greater(column, 0), min_count=0).as_py() for column in columns)
    return tokens + documents, documents


def check_columns(sources: list[Source], measure: Callable[[str], tuple[int, int]]) -> Checked:
    """Return what comparing a few documents of each file with its column found.

    Of more than MOST_FILES files so many are looked into, one in each of as many equal stretches of the list.

    Args:
        sources: files that have the column.
        measure: returns (tokens with end-of-text, bytes) of a text.
    """
    rng = random.Random(_SEED)  # noqa: S311 (chooses places; no secret)
    filled = [source for source in sources if source.rows]
    count = min(len(filled), MOST_FILES)
    chosen = [filled[int((n + rng.random()) * len(filled) / count)] for n in range(count)]
    places = min(max(_PLACES // count, 1), _PLACES_IN_A_FILE)
    documents = tokens = size = 0
    wrong = []
    for source in chosen:
        seen = _check([_place(source, rng) for _ in range(places)], measure, _CHARS // count)
        documents, tokens, size = documents + seen[0], tokens + seen[1], size + seen[2]
        off = seen[3] / max(seen[1] - seen[0], 1)  # the column leaves end-of-text out
        if abs(off) > TOLERANCE:
            wrong.append((source, off))
    return Checked(count, documents, tokens, size, wrong)


def _place(source: Source, rng: random.Random) -> Window:
    """Return a few rows of a file, anywhere in it but for what lies deep in a large row group."""
    (group,) = rng.choices(source.groups, [group.rows for group in source.groups])
    reach = min(group.rows, max(group.rows * _SKIPPED_BYTES // group.text_bytes, 1))
    first = rng.randrange(reach) // _ROWS * _ROWS
    return Window(group, first, min(_ROWS, group.rows - first))


def _check(
    places: list[Window], measure: Callable[[str], tuple[int, int]], most_chars: int
) -> tuple[int, int, int, int]:
    """Return (documents, their tokens, their bytes, how many tokens more the column says they have) at some places."""
    documents = tokens = size = more = 0
    left = most_chars
    for window in sorted(set(places), key=lambda window: (window.group.index, window.first)):
        rows = read_window(window, counts=True)
        for text, stated in zip(rows.texts, rows.counts or [], strict=True):
            if text is None:
                more += stated or 0
            elif len(text) <= left or not documents:
                counted, read = measure(text)
                left -= len(text)
                documents, tokens, size = documents + 1, tokens + counted, size + read
                more += (stated or 0) - (counted - 1)
    return documents, tokens, size, more
