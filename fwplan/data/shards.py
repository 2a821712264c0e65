"""Token shards on disk: train.bin and val.bin (raw little-endian uint16) and the meta.json that vouches for them.

Needs numpy only, so that training reads shards without pyarrow or tiktoken.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os

    import numpy.typing as npt

Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = get_args(Split)
SCHEMA_VERSION = 1
META = "meta.json"
DTYPE = np.dtype("<u2")


@dataclass(frozen=True)
class TokenShards:
    """A prepared data set: where it is and what it holds."""

    directory: Path
    train_tokens: int  # including one end-of-text after each document
    val_tokens: int
    train_documents: int
    val_documents: int
    skipped_rows: int  # null or empty text
    declared_tokens: int | None  # what the sources' token_count columns promised, end-of-text included
    vocab_size: int
    dtype: str

    def tokens(self, split: Split) -> int:
        """Return the number of tokens in a split."""
        return self.train_tokens if split == "train" else self.val_tokens

    def path(self, split: Split) -> Path:
        """Return the file of a split."""
        return self.directory / f"{split}.bin"

    def memmap(self, split: Split) -> npt.NDArray[np.uint16]:
        """Return the tokens of a split, shape (tokens,), uint16, read-only and mapped from disk."""
        if not self.tokens(split):  # an empty file cannot be mapped
            return np.empty(0, DTYPE)
        return np.memmap(self.path(split), DTYPE, mode="r", shape=(self.tokens(split),))

    def require(self, split: Split, sequence_length: int) -> None:
        """Raise FwplanError unless a split holds one training sequence: sequence_length inputs and one more target."""
        if self.tokens(split) <= sequence_length:
            raise FwplanError(
                f"{split}.bin holds {self.tokens(split):,} tokens; "
                f"sequence_length {sequence_length} needs at least {sequence_length + 1:,}",
                where=str(self.path(split)),
                hint="prepare more text, raise val_fraction or shorten sequence_length",
            )


def open_shards(directory: str | os.PathLike[str]) -> TokenShards:
    """Return the token shards in a folder, after checking the files' sizes against meta.json.

    Raises:
        FwplanError: meta.json is missing, unreadable or from a newer fwplan, or a .bin has not the size it states.
    """
    folder = Path(directory).expanduser()
    shards = _shards(folder, read_meta(folder))
    for split in SPLITS:
        _check_size(shards, split)
    return shards


def read_meta(folder: Path) -> dict[str, Any]:
    """Return meta.json as a dict; raises FwplanError where there is none that this fwplan can read."""
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = meta["schema_version"]
    except FileNotFoundError:
        raise FwplanError(
            f"no prepared data in {str(folder)!r}: it has no {META}",
            where=str(path),
            hint="name a folder that fwplan prepared, or the parquet itself",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise _damaged(path, error) from error
    if version != SCHEMA_VERSION:
        raise FwplanError(
            f"schema_version is {version!r}; this fwplan reads {SCHEMA_VERSION}",
            where=str(path),
            hint="prepare the data again, or upgrade: pip install -U fwplan",
        )
    return dict(meta)


def _shards(folder: Path, meta: dict[str, Any]) -> TokenShards:
    try:
        counts = {f"{s}_{what}": _count(meta["splits"][s][what]) for s in SPLITS for what in ("tokens", "documents")}
        return TokenShards(
            directory=folder,
            **counts,
            skipped_rows=_count(meta["skipped_rows"]),
            declared_tokens=None if meta["declared_tokens"] is None else _count(meta["declared_tokens"]),
            vocab_size=_count(meta["tokenizer"]["vocab_size"]),
            dtype=_known_dtype(meta["dtype"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise _damaged(folder / META, error) from error


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _known_dtype(value: object) -> str:
    if value != DTYPE.name:
        raise ValueError(f"dtype is {value!r}, not {DTYPE.name!r}")
    return DTYPE.name


def _damaged(path: Path, error: Exception) -> FwplanError:
    reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
    return FwplanError(f"cannot use {META}: {reason}", where=str(path), hint="prepare the data again")


def _check_size(shards: TokenShards, split: Split) -> None:
    """Raise unless the file holds what meta.json says: a truncated map would train on zeros or crash midway."""
    path, expected = shards.path(split), shards.tokens(split) * DTYPE.itemsize
    try:
        found = path.stat().st_size
    except OSError as error:
        raise FwplanError(
            f"cannot open {path.name}: {error.strerror}", where=str(path), hint="check its permissions"
        ) from error
    if found != expected:
        raise FwplanError(
            f"{path.name} is {found:,} bytes; {META} says {expected:,}", where=str(path), hint="prepare the data again"
        )
