"""Parquet in FineWeb's shape: a column of text, perhaps a `token_count`; what the footer alone tells."""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from fwplan.data.files import find_files
from fwplan.data.foreign import what_it_is
from fwplan.data.text_column import TEXT, check_text
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

TOKEN_COUNT = "token_count"  # noqa: S105 (a column's name)
LANGUAGE_SCORE = "language_score"
WINDOW_ROWS = 1000  # FineWeb's own row group; keeps memory flat where a writer made larger groups,
WINDOW_BYTES = 2**23  # or longer documents
_LENGTH_PREFIX = 4  # bytes that parquet's plain encoding puts before each string


class Version(NamedTuple):
    """Which of the files that may have lain at a path: another one there is told by its inode, size or time."""

    inode: int
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class RowGroup:
    """A row group of a file."""

    path: Path
    index: int
    rows: int
    # Of the text column, uncompressed but as it is encoded, from the footer: plain text is 0.1 to 3 % from its true
    # UTF-8 size, a dictionary's or a delta encoding's may be a hundredth of it.
    text_bytes: int
    column: str  # that holds the text
    version: Version  # of the file whose footer was read


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
    version: Version
    groups: tuple[RowGroup, ...]  # without empty ones
    has_token_count: bool
    has_language_score: bool
    footer_sha256: str  # changes whenever any page's size or statistics change

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.version.size

    @property
    def rows(self) -> int:
        """Rows in the file."""
        return sum(group.rows for group in self.groups)


def open_sources(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]], text_column: str = TEXT
) -> list[Source]:
    """Return the files behind a file, a folder, a glob or a list of those, each checked by its footer.

    Raises:
        FwplanError: nothing there, not parquet, no such column, none of text, or not a single row.
    """
    sources = [_open_source(path, text_column) for path in find_files(paths)]
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


def version_of(path: Path) -> Version:
    """Return which file lies at a path now."""
    stat = path.stat()
    return Version(stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _open_source(path: Path, text_column: str) -> Source:
    with reading(path):
        version = version_of(path)
        with pq.ParquetFile(path) as file:
            schema, metadata, footer_sha256 = file.schema_arrow, file.metadata, _footer_sha256(path)
    check_text(schema, text_column, path)
    column = [metadata.schema.column(i).path for i in range(metadata.num_columns)].index(text_column)
    groups = []
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        text_bytes = group.column(column).total_uncompressed_size - _LENGTH_PREFIX * group.num_rows
        groups.append(RowGroup(path, index, group.num_rows, max(text_bytes, group.num_rows), text_column, version))
    counted, scored = _has(schema, TOKEN_COUNT, pa.types.is_integer), _has(schema, LANGUAGE_SCORE, pa.types.is_floating)
    return Source(path, version, tuple(group for group in groups if group.rows), counted, scored, footer_sha256)


def _has(schema: Any, name: str, is_kind: Callable[[Any], bool]) -> bool:
    return schema.names.count(name) == 1 and is_kind(schema.field(name).type)


def _footer_sha256(path: Path) -> str:
    """Return the SHA-256 of a parquet file's last part: its footer, the footer's length (4 bytes) and "PAR1"."""
    with path.open("rb") as file:
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return hashlib.sha256(file.read()).hexdigest()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn whatever pyarrow says about a bad file into one clear error."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason, hint = _explained(path, error)
        raise FwplanError(f"cannot read {path.name!r} as parquet: {reason}", where=str(path), hint=hint) from error


def _explained(path: Path, error: Exception) -> tuple[str, str]:
    """Return (why a file cannot be read, what to do)."""
    reason = str(error).splitlines()[0].rstrip(".") if str(error) else type(error).__name__
    if getattr(error, "errno", None):  # it was not even read: missing, or not ours to read
        return reason, "may you read it?"
    found = what_it_is(path)
    return (f"it is {found[0]}", found[1]) if found else (reason, "it may be truncated or damaged: download it again")
