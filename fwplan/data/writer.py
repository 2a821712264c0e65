"""Write train.bin, val.bin and meta.json so that they appear whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

from fwplan.data.shards import META, SPLITS
from fwplan.errors import FwplanError
from fwplan.files import sync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwplan.data.encode import EncodedGroup
    from fwplan.data.shards import Split

_TEMPORARY = ".tmp"


class ShardWriter:
    """Appends tokens to temporary files; `publish` gives them their names, meta.json last.

    A killed run leaves temporary files, which the next run replaces. While they are being renamed meta.json.tmp
    stands beside them, so that the shards of another program are told from half-published ones and never overwritten.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._files: dict[Split, IO[bytes]] = {}
        self._hashes = {split: hashlib.sha256() for split in SPLITS}

    def __enter__(self) -> Self:
        with _writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._refuse_foreign()
            self._remove_temporary()
            self._files = {split: self._temporary(f"{split}.bin").open("w+b") for split in SPLITS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            with suppress(OSError):  # closing flushes, and a full disk has been reported already
                file.close()
        self._remove_temporary()

    def append(self, encoded: EncodedGroup) -> None:
        """Append a row group's tokens to both splits."""
        with _writing(self.folder):
            for split, tokens in encoded.tokens.items():
                self._files[split].write(tokens)
                self._hashes[split].update(tokens)

    def restart(self) -> None:
        """Forget all that was appended."""
        with _writing(self.folder):
            for split, file in self._files.items():
                file.seek(0)
                file.truncate()
                self._hashes[split] = hashlib.sha256()

    def publish(self, meta: dict[str, Any], documents: dict[Split, int]) -> None:
        """Make the files durable and visible; adds to `meta` what each split holds."""
        with _writing(self.folder):
            splits = {split: self._finish(split) | {"documents": documents[split]} for split in SPLITS}
            with self._temporary(META).open("w", encoding="utf-8") as file:
                json.dump(meta | {"splits": splits}, file, indent=2)
                _sync(file)
            (self.folder / META).unlink(missing_ok=True)
            for name in (*(f"{split}.bin" for split in SPLITS), META):
                self._temporary(name).replace(self.folder / name)
            sync_directory(self.folder)

    def _finish(self, split: Split) -> dict[str, Any]:
        file = self._files[split]
        size = file.tell()
        _sync(file)
        file.close()
        return {"file": f"{split}.bin", "tokens": size // 2, "sha256": self._hashes[split].hexdigest()}

    def _temporary(self, name: str) -> Path:
        return self.folder / (name + _TEMPORARY)

    def _remove_temporary(self) -> None:
        for name in (*(f"{split}.bin" for split in SPLITS), META):
            with suppress(OSError):
                self._temporary(name).unlink(missing_ok=True)

    def _refuse_foreign(self) -> None:
        ours = (self.folder / META).exists() or self._temporary(META).exists()
        found = [f"{split}.bin" for split in SPLITS if (self.folder / f"{split}.bin").exists()]
        if found and not ours:
            raise FwplanError(
                f"{found[0]} in {str(self.folder)!r} was not written by fwplan, so it is not overwritten",
                where=str(self.folder / found[0]),
                hint="choose another output folder",
            )


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """Turn a failed write into one clear error."""
    try:
        yield
    except OSError as error:
        full = error.errno in {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
        raise FwplanError(
            f"the disk filled up while writing to {str(folder)!r}"
            if full
            else f"cannot write to {str(folder)!r}: {error.strerror or error}",
            where=str(folder),
            hint="free some space or choose another output folder" if full else "choose another output folder",
        ) from error


def _sync(file: IO[Any]) -> None:
    file.flush()
    os.fsync(file.fileno())
