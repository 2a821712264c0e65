"""Rows out of parquet, streamed: a window's texts, a whole row group batch by batch, a column of counts."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow.parquet as pq

from fwplan.data.parquet import LANGUAGE_SCORE, TOKEN_COUNT, RowGroup, Version, Window, reading, version_of
from fwplan.data.text_column import first_invalid, texts_of
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwplan.data.parquet import Source


class Rows(NamedTuple):
    """A window's rows: their texts, None for null or empty, and of other columns what was asked for."""

    texts: list[str | None]
    scores: list[float | None] | None  # language_score
    counts: list[int | None] | None  # token_count


def read_window(window: Window, *, scores: bool = False, counts: bool = False) -> Rows:
    """Return a window's rows, with no column read but the text and what is asked for.

    Windows of one group that are read in order share one pass over it.

    Raises:
        FwplanError: the file cannot be read, changed since it was opened, holds fewer rows than its footer says, or a
            text that is not UTF-8.
    """
    group = window.group
    others = ([LANGUAGE_SCORE] if scores else []) + ([TOKEN_COUNT] if counts else [])
    texts: list[str | None] = []
    values: dict[str, list[Any]] = {name: [] for name in others}
    with reading(group.path):
        for batch in _cursor(window, (group.column, *others)).take(window.first, window.rows):
            texts += _texts(batch.column(group.column), group, window.first + len(texts))
            for name in others:
                values[name] += batch.column(name).to_pylist()
    _check_rows(group, window.first + len(texts), window.first + window.rows)
    return Rows(texts, values.get(LANGUAGE_SCORE), values.get(TOKEN_COUNT))


def group_columns(group: RowGroup, batch_rows: int) -> Iterator[Any]:
    """Yield a row group's texts as Arrow arrays of at most so many rows: all of them, from the first.

    Raises:
        FwplanError: as read_window.
    """
    rows = 0
    with reading(group.path):
        for batch in _batches(group, (group.column,), batch_rows):
            rows += batch.num_rows
            yield batch.column(0)
    _check_rows(group, rows, group.rows)


def _texts(column: Any, group: RowGroup, first: int) -> list[str | None]:
    """Return the texts of an array whose first row is the group's `first`."""
    try:
        return texts_of(column)
    except UnicodeDecodeError:
        place, error = first_invalid(column)
        row = _rows_before(group) + first + place
        raise FwplanError(
            f"row {row:,} (from 0) of {group.path.name!r} is not UTF-8: byte 0x{error.object[error.start]:02x} at its "
            f"byte {error.start:,} ({error.reason})",
            where=str(group.path),
            hint="mend that text or leave it out, and write the file again",
        ) from error


def _rows_before(group: RowGroup) -> int:
    metadata = _opened(group.path, group.version).metadata
    return sum(metadata.row_group(index).num_rows for index in range(group.index))


def _check_rows(group: RowGroup, got: int, expected: int) -> None:
    """Raise unless the rows are all there and the file is still the one whose footer was read."""
    _opened(group.path, group.version)
    if got != expected:
        raise FwplanError(
            f"row group {group.index} gave {got:,} rows, not {group.rows:,}",
            where=str(group.path),
            hint="the file is damaged: fetch it again",
        )


class _Cursor:
    """One pass over a row group; the text column is streamed, page by page."""

    def __init__(self, group: RowGroup, columns: tuple[str, ...], batch_rows: int) -> None:
        self._batches = _batches(group, columns, batch_rows)
        self.position = 0
        self._rest: Any = None  # of a batch that reached past what was asked for

    def take(self, first: int, rows: int) -> Iterator[Any]:
        """Yield record batches that hold rows `first` to `first + rows`, fewer where the group ends before."""
        end = first + rows
        while self.position < end:
            batch = self._rest if self._rest is not None else next(self._batches, None)
            self._rest = None
            if batch is None:
                return
            begin, stop = self.position, self.position + batch.num_rows
            if stop > end:
                self._rest, stop = batch.slice(end - begin), end
            self.position = stop
            if stop > first:
                yield batch.slice(max(first - begin, 0), stop - max(first, begin))


_open_cursors: dict[tuple[RowGroup, tuple[str, ...]], _Cursor] = {}  # the last one only


def forget_position() -> None:
    """Let go of the row group that was read last, and of the page of it that is in memory."""
    _open_cursors.clear()


def _cursor(window: Window, columns: tuple[str, ...]) -> _Cursor:
    """Return a pass over the window's group that has not gone past its first row."""
    key = (window.group, columns)
    found = _open_cursors.pop(key, None)
    _open_cursors.clear()
    if found is None or found.position > window.first:
        found = _Cursor(window.group, columns, window.rows)
    if window.first + window.rows < window.group.rows:
        _open_cursors[key] = found
    return found


def token_counts(source: Source) -> Any:
    """Return a file's token_count column as a pyarrow ChunkedArray: GPT-2 tokens per row, without end-of-text."""
    with reading(source.path):
        return _opened(source.path, source.version).read(columns=[TOKEN_COUNT]).column(0)


def _batches(group: RowGroup, columns: tuple[str, ...], batch_rows: int) -> Any:
    return _opened(group.path, group.version).iter_batches(
        batch_size=batch_rows, row_groups=[group.index], columns=list(columns), use_threads=False
    )


def _opened(path: Path, version: Version) -> Any:
    """Return the ParquetFile at a path; raises FwplanError where it is another than when its footer was read."""
    with reading(path):
        found = version_of(path)
    if found != version:
        raise FwplanError(
            f"{path.name!r} was changed or replaced while it was in use",
            where=str(path),
            hint="wait until it is written, then give the same command again",
        )
    return _open_file(path, version)


@lru_cache(maxsize=1)
def _open_file(path: Path, _version: Version) -> Any:
    """Return an open ParquetFile; kept, because a footer of 1,000 row groups takes 10 ms to parse, once per group.

    A flipped bit is found where the writer left checksums; without, it may be a letter like any other.
    """
    # pre_buffer, pyarrow's newer default, would read a row group's whole column into memory before its first row
    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False, page_checksum_verification=True)
