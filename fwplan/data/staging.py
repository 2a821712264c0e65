"""Where tokens are gathered before they are published: files that only grow, and a record of how far they are good.

The record, state.json, is replaced as a whole after the files have reached the disk, and tells of whole windows only.
So a process killed at any moment, a failed write or a power cut leaves files of at least the recorded lengths; what is
beyond them is cut off when the work goes on.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
import time
import zlib
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

import numpy as np

from fwplan.data.encode import DIGEST
from fwplan.data.formats import SPLITS, Format, Split, header_bytes
from fwplan.errors import FwplanError
from fwplan.files import replace_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from fwplan.data.encode import Part

PARTIAL = ".partial"  # the staging folder, inside the output folder
STATE = "state.json"
COMMIT_SECONDS = 2.0  # between records: what a kill can lose of the work


class Staging:
    """The staging folder of an output folder, open for more."""

    def __init__(self, out: Path, kind: Format, dtype: np.dtype[Any], shard_tokens: int) -> None:
        self.folder = out / PARTIAL
        self.kind, self.dtype, self.shard_tokens = kind, dtype, shard_tokens
        self.splits: dict[Split, SplitFiles] = {}
        self._digests: IO[bytes] | None = None
        self._whole: dict[str, Any] | None = None  # the state after the last whole window
        self._committed = 0.0

    def record(self) -> dict[str, Any] | None:
        """Return the state that an interrupted preparation recorded, whatever it was of; None where there is none."""
        try:
            return dict(json.loads((self.folder / STATE).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return None

    def holds(self, state: dict[str, Any]) -> bool:
        """Return whether each file is at least as long as recorded; only somebody else's hand makes it shorter.

        Raises:
            LookupError, TypeError, OSError: the record is no record, or a file is not there.
        """
        header, width = header_bytes(self.kind), self.dtype.itemsize
        wanted = {"digests": _digest_bytes(state)}
        for split in SPLITS:
            counts = state["splits"][split]
            wanted[f"{split}.ends"] = 8 * counts["documents"]
            full, rest = divmod(counts["tokens"], self.shard_tokens)
            wanted |= {shard_name(split, number): header + self.shard_tokens * width for number in range(full)}
            wanted[shard_name(split, full)] = header + rest * width if rest else 0
        return all((self.folder / name).stat().st_size >= size for name, size in wanted.items())

    def open(self, state: dict[str, Any] | None) -> None:
        """Open the files where the state says they are good; None: empty ones.

        Raises:
            FwplanError: the folder cannot be written.
        """
        with writing(self.folder):
            if state is None and self.folder.exists():
                shutil.rmtree(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            counts = state["splits"] if state else {}
            self.splits = {split: SplitFiles(self, split, **counts.get(split, {})) for split in SPLITS}
            self._digests = open_at(self.folder / "digests", _digest_bytes(state) if state else 0)
            self._whole = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def append(self, split: Split, part: Part) -> None:
        """Append a window's share of a split."""
        with writing(self.folder):
            self.splits[split].append(part.tokens, part.lengths)
            if part.digests is not None and self._digests is not None:
                self._digests.write(part.digests.tobytes())

    def digests(self) -> Iterator[npt.NDArray[np.bytes_]]:
        """Yield the digests of the documents that are in, in pieces: none unless they were asked for."""
        with (self.folder / "digests").open("rb") as file:
            while piece := file.read(DIGEST.itemsize * 2**16):
                yield np.frombuffer(piece, DIGEST)

    def mark(self, state: dict[str, Any]) -> None:
        """Take what was appended so far for whole, as `state` says of it; a record speaks of nothing after it."""
        with writing(self.folder):
            for file in self._open_files():
                file.flush()  # so that a later write, which may fail, is in no way of putting this on disk
        self._whole = state | {"splits": {split: files.counts() for split, files in self.splits.items()}}

    def commit(self, *, now: bool = False) -> None:
        """Record what is marked, if the last record is old enough or `now`."""
        if self._whole is None or (not now and time.monotonic() - self._committed < COMMIT_SECONDS):
            return
        with writing(self.folder):
            for file in self._open_files():
                os.fsync(file.fileno())
            text = json.dumps(self._whole).encode()
            replace_atomically(self.folder / STATE, lambda file: file.write(text))
        self._committed = time.monotonic()

    def _open_files(self) -> Iterator[IO[bytes]]:
        for files in self.splits.values():
            yield from files.open_files()
        if self._digests is not None:
            yield self._digests

    def close(self) -> None:
        """Close all files; what is not recorded may be lost."""
        for file in self._open_files():
            with suppress(OSError):  # closing flushes, and a full disk has been reported already
                file.close()

    def discard(self) -> None:
        """Remove the staging folder."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class SplitFiles:
    """A split's growing files: shards of tokens behind room for a header, and where each document ends."""

    def __init__(
        self,
        staging: Staging,
        split: Split,
        tokens: int = 0,
        documents: int = 0,
        tokens_crc32: int = 0,
        ends_crc32: int = 0,
    ) -> None:
        self.folder, self.split = staging.folder, split
        self.limit, self.dtype = staging.shard_tokens, staging.dtype
        self.offset = header_bytes(staging.kind)
        self.tokens, self.documents = tokens, documents
        self.tokens_crc32, self.ends_crc32 = tokens_crc32, ends_crc32  # of what was encoded: what is read must be that
        self._ends = open_at(self.folder / f"{split}.ends", 8 * documents)
        self._open_shard()

    def path(self, shard: int) -> Path:
        """Return the n-th shard's staging file."""
        return self.folder / shard_name(self.split, shard)

    @property
    def shards(self) -> int:
        """How many shards the tokens fill, the last perhaps in part."""
        return -(-self.tokens // self.limit)

    def append(self, tokens: npt.NDArray[Any], lengths: npt.NDArray[np.int64]) -> None:
        """Append documents' tokens and where each of them ends."""
        ends = (self.tokens + np.cumsum(lengths)).astype("<i8").tobytes()
        self._ends.write(ends)
        self.ends_crc32 = zlib.crc32(ends, self.ends_crc32)
        self.tokens_crc32 = zlib.crc32(tokens.data, self.tokens_crc32)
        self.documents += len(lengths)
        while len(tokens):
            room = self.limit - self.tokens % self.limit
            self._file.write(tokens[:room].tobytes())
            self.tokens += min(room, len(tokens))
            tokens = tokens[room:]
            if self.tokens % self.limit == 0:
                full = self._file
                sync(full)
                self._open_shard()
                full.close()

    def counts(self) -> dict[str, int]:
        """Return what the record says of the split."""
        return {name: getattr(self, name) for name in ("tokens", "documents", "tokens_crc32", "ends_crc32")}

    def open_files(self) -> tuple[IO[bytes], ...]:
        """Return what is open."""
        return self._file, self._ends

    def _open_shard(self) -> None:
        shard, within = divmod(self.tokens, self.limit)
        self._file = open_at(self.path(shard), self.offset + within * self.dtype.itemsize)


def _digest_bytes(state: dict[str, Any]) -> int:
    """Return the bytes of digests that belong to a state: one for each document, or none at all."""
    documents = sum(state["splits"][split]["documents"] for split in SPLITS)
    return DIGEST.itemsize * documents if state["recipe"]["dedup"] else 0


def shard_name(split: Split, shard: int) -> str:
    """Return the name of a split's n-th staging file."""
    return f"{split}.{shard:06d}"


def open_at(path: Path, size: int) -> IO[bytes]:
    """Return the file open for appending after its first `size` bytes; what follows them is cut off.

    Raises:
        OSError: it cannot be opened, or is shorter than a header's room allows.
    """
    file = path.open("r+b" if path.exists() else "w+b")
    file.truncate(size)
    file.seek(size)
    return file


def sync(file: IO[Any]) -> None:
    """Put a file's content on disk."""
    file.flush()
    os.fsync(file.fileno())


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Turn a failed write into one clear error."""
    try:
        yield
    except OSError as error:
        shown = folder.parent if folder.name == PARTIAL else folder
        said, hint = _said_of(error, str(shown))
        raise FwplanError(said, where=str(shown), hint=hint) from error


def _said_of(error: OSError, folder: str) -> tuple[str, str]:
    """Return (what a failed write means, what to do next)."""
    if error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}:
        said = f"the disk filled up while writing to {folder!r}"
        return said, "free some space; the same command then goes on where it stopped"
    said = f"cannot write to {folder!r}: {error.strerror or error}"
    if error.errno == errno.EFBIG:
        return said, "lift the limit on the size of a file (ulimit -f); the same command then goes on"
    return said, "choose another output folder"
