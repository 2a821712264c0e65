"""Parquet in FineWeb's shape: a `text` column, perhaps a `token_count`, read from the footer and streamed."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

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
BATCH_ROWS = 1000  # FineWeb's own row group; keeps memory flat where a writer made larger groups
_LENGTH_PREFIX = 4  # bytes that parquet's plain encoding puts before each string


@dataclass(frozen=True)
class RowGroup:
    """One unit of work: a row group of a file."""

    path: Path
    index: int
    rows: int
    text_bytes: int  # of the text column, uncompressed, from the footer: 0.1 to 3 % from the true UTF-8 size


@dataclass(frozen=True)
class Source:
    """A parquet file that has been opened and checked."""

    path: Path
    size: int  # bytes on disk
    groups: tuple[RowGroup, ...]  # without empty ones
    has_token_count: bool
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


def text_batches(group: RowGroup) -> Iterator[list[str | None]]:
    """Return the documents of a row group in lists of at most BATCH_ROWS; None stands for null or empty text."""
    with _reading(group.path):
        stat = group.path.stat()
        file = _open_file(group.path, (stat.st_ino, stat.st_size, stat.st_mtime_ns))
        columns = {"row_groups": [group.index], "columns": [TEXT]}
        for batch in file.iter_batches(batch_size=BATCH_ROWS, use_threads=False, **columns):
            yield [text or None for text in batch.column(0).to_pylist()]


def token_counts(source: Source) -> Any:
    """Return a file's token_count column as a pyarrow ChunkedArray: GPT-2 tokens per row, without end-of-text."""
    with _reading(source.path):
        return pq.read_table(source.path, columns=[TOKEN_COUNT], partitioning=None).column(0)


@lru_cache(maxsize=1)
def _open_file(path: Path, _identity: tuple[int, int, int]) -> Any:
    """Return an open ParquetFile; kept, because a footer of 1,000 row groups takes 10 ms to parse, once per group."""
    return pq.ParquetFile(path, buffer_size=2**20)


def _open_source(path: Path) -> Source:
    with _reading(path), pq.ParquetFile(path) as file:
        schema, metadata, footer_sha256 = file.schema_arrow, file.metadata, _footer_sha256(path)
    _check_text(schema, path)
    column = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(TEXT)
    groups = [_row_group(path, metadata, index, column) for index in range(metadata.num_row_groups)]
    counted = TOKEN_COUNT in schema.names and pa.types.is_integer(schema.field(TOKEN_COUNT).type)
    return Source(path, path.stat().st_size, tuple(g for g in groups if g.rows), counted, footer_sha256)


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
