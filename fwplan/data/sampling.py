"""Tokens of much text from a few places in it, and how far that may be off.

Places are spread over the bytes: one in each of PLACES equal stretches, anywhere in it, so that nothing that comes back
at regular distances (files of one size, each sorted alike) can fall in step with them. A place lies in a row group by
that group's size, and in a unit of the group by the bytes of its texts as decoded, which are read for it:

    tokens of all = sizes of all * mean over places of (tokens / bytes of the unit) * (bytes / size of its group)

which is unbiased (Hansen and Hurwitz 1943: draw by size, divide by it) whatever the sizes are of. They are the decoded
bytes too, where all can be decoded soon; else the footers', which for a dictionary or for differences may be a
hundredth of those: the interval then says how much that costs (benchmarks/count_coverage.py: it held 1,772 of 1,800).
"""

from __future__ import annotations

import random
from bisect import bisect_right
from itertools import accumulate, groupby
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fwplan.data.parquet import WINDOW_ROWS, RowGroup, Window
from fwplan.data.rows import group_columns
from fwplan.data.text_column import utf8_lengths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import numpy.typing as npt

PLACES = 64
_DECODED_BYTES = 2**28  # by the footers: about half a second to decode
UNIT_BYTES = 2**18  # of text at a place, or one document where that is longer: about a second of tiktoken in all
_T95 = 2.0  # Student's t for 95 % and PLACES - 1 degrees of freedom
_SEED = 0  # the same files have the same places


class Place(NamedTuple):
    """Where to look: a row group, by its number, and how far into its text."""

    group: int
    part: float  # 0 to 1, of its bytes


class Found(NamedTuple):
    """What a place says of its row group, divided by the group's size."""

    tokens: float
    bytes: float  # of UTF-8
    documents: float
    rows: float


class Estimate(NamedTuple):
    """Totals, and half the width of the tokens' 95 % interval."""

    tokens: float
    bytes: float
    document_share: float  # of the rows
    spread: float


def places(sizes: Sequence[int], count: int) -> list[Place]:
    """Return `count` places, in order, in row groups of those sizes."""
    ends, rng, found = list(accumulate(sizes)), random.Random(_SEED), []  # noqa: S311 (chooses places; no secret)
    for number in range(count):
        at = (number + rng.random()) / count * ends[-1]
        group = min(bisect_right(ends, at), len(sizes) - 1)
        found.append(Place(group, (at - ends[group] + sizes[group]) / sizes[group]))
    return found


def unit_at(lengths: npt.NDArray[np.int64], part: float, unit_bytes: int) -> tuple[int, int]:
    """Return (first row, rows) of the unit that holds the byte `part` of the way through texts of those lengths.

    A unit is the documents that begin in the same stretch of unit_bytes, so a byte belongs to exactly one.
    """
    ends = np.cumsum(lengths)
    row = min(int(np.searchsorted(ends, part * ends[-1], side="right")), len(lengths) - 1)
    units = (ends - lengths) // unit_bytes
    first, stop = np.searchsorted(units, [units[row], units[row] + 1])
    return int(first), int(stop - first)


def sizes_of(groups: Sequence[RowGroup]) -> list[int]:
    """Return the row groups' sizes: bytes of UTF-8, or by the footers where those are many; at least 1 a row."""
    if sum(group.text_bytes for group in groups) > _DECODED_BYTES:
        return [group.text_bytes for group in groups]
    return [max(int(text_lengths(group).sum()), group.rows) for group in groups]


def text_lengths(group: RowGroup) -> npt.NDArray[np.int64]:
    """Return the bytes of UTF-8 of each of a row group's texts, 0 for null."""
    return np.concatenate([utf8_lengths(column) for column in group_columns(group, WINDOW_ROWS)])


def look(
    groups: Sequence[RowGroup], sizes: Sequence[int], measure: Callable[[Window], tuple[int, int]]
) -> Iterator[Found]:
    """Yield what each place says; `measure` returns (tokens, bytes) of a window's texts."""
    for number, here in groupby(places(sizes, PLACES), lambda place: place.group):
        group, lengths = groups[number], text_lengths(groups[number])
        for place in here:
            window = Window(group, *unit_at(lengths, place.part, UNIT_BYTES))
            yield found_in(lengths, measure(window), sizes[number])


def found_in(lengths: npt.NDArray[np.int64], measured: tuple[int, int], size: int) -> Found:
    """Return what (tokens, bytes) of a unit say of its row group, with texts of those lengths."""
    (tokens, read), decoded = measured, int(lengths.sum())
    each = tokens / read * decoded if read else 0.0
    return Found(*(value / size for value in (each, decoded, int(np.count_nonzero(lengths)), len(lengths))))


def estimate(found: Sequence[Found], total: int) -> Estimate:
    """Return the totals of row groups whose sizes add up to `total`."""
    tokens, decoded, documents, rows = np.array(found).T
    return Estimate(
        tokens=float(tokens.mean()) * total,
        bytes=float(decoded.mean()) * total,
        document_share=float(documents.sum() / rows.sum()),
        spread=_T95 * float(tokens.std(ddof=1)) / sqrt(len(found)) * total,
    )
