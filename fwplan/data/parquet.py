"""Parquet in FineWeb's shape: a `text` column, perhaps a `token_count`, read from the footer and streamed."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fwplan.data.files import find_files
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path

TEXT = "text"
TOKEN_COUNT = "token_count"  # noqa: S105 (a column's name)
LANGUAGE_SCORE = "language_score"
WINDOW_ROWS = 1000  # FineWeb's own row group; keeps memory flat where a writer made larger groups,
WINDOW_BYTES = 2**23  # or longer documents
_LENGTH_PREFIX = 4  # bytes that parquet's plain encoding puts before each string


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file."""

    path: Path
    index: int
    rows: int
    text_bytes: int  # of the text column, uncompressed, from the footer: 0.1 to 3 % from the true UTF-8 size


@dataclass(frozen=True)
class Window:
    """One unit of work: rows `first` to `first + rows` of a row group. FineWeb's groups are one window each."""

    group: RowGroup
    first: int
    rows: int

    @property
    def text_bytes(self) -> int:
        """The group's bytes by this window's share of rows; the windows of a group add up to it exactly."""
        group, end = self.group, self.first + self.rows
        return group.text_bytes * end // group.rows - group.text_bytes * self.first // group.rows


@dataclass(frozen=True)
class Source:
    """A parquet file that has been opened and checked."""

    path: Path
    size: int  # bytes on disk
    groups: tuple[RowGroup, ...]  # without empty ones
    has_token_count: bool
    has_language_score: bool
    footer_sha256: str  # changes whenever any page's size or statistics change

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(group.rows for group in self.groups)


def open_sources(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Source]:
    """Return the files behind a file, a folder, a glob or a list of those, each checked by its footer.

    Raises:
        FwplanError: nothing there, not parquet, no text column, or not a single row.
    """
    sources = [_open_source(path) for path in find_files(paths)]
    if not any(source.rows for source in sources):
        raise FwplanError(
            "the parquet holds no rows",
            where=", ".join(str(source.path) for source in sources[:3]),
            hint="is it the right file?",
        )
    return sources


def windows(sources: Iterable[Source]) -> list[Window]:
    """Return the files' row groups in order, cut where they are larger than a worker should hold."""
    found = []
    for group in (group for source in sources for group in source.groups):
        most = min(max(WINDOW_BYTES * group.rows // group.text_bytes, 1), WINDOW_ROWS)
        found += [Window(group, first, min(most, group.rows - first)) for first in range(0, group.rows, most)]
    return found


class Rows(NamedTuple):
    """A window's rows: their texts, None for null or empty, and of other columns what was asked for."""

    texts: list[str | None]
    scores: list[float | None] | None  # language_score
    counts: list[int | None] | None  # token_count


def read_window(window: Window, *, scores: bool = False, counts: bool = False) -> Rows:
    """Return a window's rows, with no column read but the text and what is asked for.

    Windows of one group that are read in order share one pass over it.

    Raises:
        FwplanError: the file cannot be read, or holds fewer rows than its footer says.
    """
    columns = (TEXT, *([LANGUAGE_SCORE] if scores else []), *([TOKEN_COUNT] if counts else []))
    path = window.group.path
    with _reading(path):
        values: dict[str, list[Any]] = {name: [] for name in columns}
        for batch in _cursor(window, columns).take(window.first, window.rows):
            for name in columns:
                values[name] += batch.column(name).to_pylist()
    texts = [text or None for text in values[TEXT]]
    if len(texts) != window.rows:
        raise FwplanError(
            f"row group {window.group.index} gave {window.first + len(texts):,} rows, not {window.group.rows:,}",
            where=str(path),
            hint="the file changed while it was read, or is damaged: fetch it again",
        )
    return Rows(texts, values.get(LANGUAGE_SCORE), values.get(TOKEN_COUNT))


class _Cursor:
    """One pass over a row group; the text column is streamed, page by page."""

    def __init__(self, group: RowGroup, columns: tuple[str, ...], batch_rows: int) -> None:
        self._batches = _opened(group.path).iter_batches(
            batch_size=batch_rows, row_groups=[group.index], columns=list(columns), use_threads=False
        )
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
    with _reading(source.path):
        return _opened(source.path).read(columns=[TOKEN_COUNT]).column(0)


def _opened(path: Path) -> Any:
    """Return the ParquetFile at a path as it is now."""
    stat = path.stat()
    return _open_file(path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1)
def _open_file(path: Path, _identity: tuple[int, int, int]) -> Any:
    """Return an open ParquetFile; kept, because a footer of 1,000 row groups takes 10 ms to parse, once per group."""
    # pre_buffer, pyarrow's newer default, would read a row group's whole column into memory before its first row
    return pq.ParquetFile(path, buffer_size=2**20, pre_buffer=False)


def _open_source(path: Path) -> Source:
    with _reading(path), pq.ParquetFile(path) as file:
        schema, metadata, footer_sha256 = file.schema_arrow, file.metadata, _footer_sha256(path)
    _check_text(schema, path)
    column = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(TEXT)
    groups = [_row_group(path, metadata, index, column) for index in range(metadata.num_row_groups)]
    counted = TOKEN_COUNT in schema.names and pa.types.is_integer(schema.field(TOKEN_COUNT).type)
    scored = LANGUAGE_SCORE in schema.names and pa.types.is_floating(schema.field(LANGUAGE_SCORE).type)
    return Source(path, path.stat().st_size, tuple(g for g in groups if g.rows), counted, scored, footer_sha256)


def _row_group(path: Path, metadata: Any, index: int, column: int) -> RowGroup:
    group = metadata.row_group(index)
    text_bytes = group.column(column).total_uncompressed_size - _LENGTH_PREFIX * group.num_rows
    return RowGroup(path, index, group.num_rows, max(text_bytes, group.num_rows))


def _check_text(schema: Any, path: Path) -> None:
    if TEXT not in schema.names:
        raise FwplanError(
            f"no {TEXT!r} column; this file has {', '.join(schema.names)}",
            where=str(path),
            hint='rename the column that holds the documents to "text"',
        )
    kind = schema.field(TEXT).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise FwplanError(
            f"column {TEXT!r} is {kind}, not string", where=str(path), hint="write the documents as strings"
        )


def _footer_sha256(path: Path) -> str:
    """Return the SHA-256 of a parquet file's last part: its footer, the footer's length (4 bytes) and "PAR1"."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return hashlib.sha256(file.read()).hexdigest()


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turn whatever pyarrow says about a bad file into one clear error."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
        raise FwplanError(
            f"cannot read {path.name!r} as parquet: {reason}",
            where=str(path),
            # an errno means that the file was not even read: missing, or not ours to read
            hint="may you read it?"
            if getattr(error, "errno", None)
            else "the file may be truncated or damaged: download it again",
        ) from error
