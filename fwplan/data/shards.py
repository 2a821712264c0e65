"""A folder of tokens to train on: prepared by fwplan, with a meta.json that vouches for it, or brought from elsewhere.

Reads nanoGPT's .bin, build-nanogpt's .npy and the .bin of llm.c and modded-nanogpt. Needs numpy only, so that training
reads tokens without pyarrow or tiktoken.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.data.formats import (
    FORMATS,
    SPLITS,
    Format,
    Split,
    TokenFile,
    end_of_text_first,
    find_token_files,
    header_bytes,
    read_header,
)
from fwplan.data.sidecar import META, damaged, read_meta
from fwplan.data.tokens import TokenSequence
from fwplan.errors import FwplanError
from fwplan.files import user_path
from fwplan.locks import locked

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator

    import numpy.typing as npt

_GPT2_END = 50_256  # whose tokens a folder without meta.json is taken to hold
READING = ".reading"  # a lock that is shared by those who train on a folder's tokens
ENDS = "ends"  # the folder of the index of documents: its files must not look like a trainer's "train" files


@dataclass(frozen=True)
class TokenShards:
    """A data set: where it is and what it holds. None: there is no meta.json to say."""

    directory: Path
    format: Format
    files: dict[Split, tuple[TokenFile, ...]]
    vocab_size: int | None
    end_of_text: int
    documents: dict[Split, int] | None
    meta: dict[str, Any] | None

    @property
    def train_tokens(self) -> int:
        """Tokens to train on, an end-of-text for each document included."""
        return self.tokens("train")

    @property
    def val_tokens(self) -> int:
        """Tokens for validation, likewise."""
        return self.tokens("val")

    @property
    def dtype(self) -> np.dtype[Any]:
        """The ids' type on disk."""
        return next((file.dtype for split in SPLITS for file in self.files[split]), np.dtype("<u2"))

    def tokens(self, split: Split) -> int:
        """Return the number of tokens in a split."""
        return sum(file.tokens for file in self.files[split])

    def sequence(self, split: Split) -> TokenSequence:
        """Return the tokens of a split, read-only and mapped from disk as they are read."""
        return TokenSequence(self.files[split])

    def ends(self, split: Split) -> npt.NDArray[np.int64]:
        """Return where each document ends, (documents,) int64: the position after its last token, end-of-text included.

        From the index that prepare writes, mapped; without one, from the end-of-text tokens, in one pass over the data.

        Raises:
            FwplanError: the index has not the size that meta.json says.
        """
        path = self.directory / ENDS / f"{split}.i64"
        if self.documents is None or not path.exists():
            return self._found_ends(split)
        expected = 8 * self.documents[split]
        if path.stat().st_size != expected:
            raise FwplanError(
                f"{ENDS}/{path.name} is {path.stat().st_size:,} bytes; {META} says {expected:,}",
                where=str(path),
                hint="delete it, and the documents are found by their end-of-text; or prepare the data again",
            )
        return np.memmap(path, "<i8", mode="r") if expected else np.empty(0, np.int64)

    def _found_ends(self, split: Split) -> npt.NDArray[np.int64]:
        found, begin, total = [], 0, self.tokens(split)
        for chunk in self.sequence(split).chunks():
            found.append(np.flatnonzero(chunk == self.end_of_text) + begin)
            begin += len(chunk)
        marks = np.concatenate([*found, np.empty(0, np.int64)])
        # before each document: the next mark ends it; after each: the mark itself. What precedes the first or follows
        # the last is a document cut by whoever made the file.
        ends = marks if end_of_text_first(self.format) else marks + 1
        return np.unique(np.append(ends[(ends > 0) & (ends < total)], total)) if total else np.empty(0, np.int64)

    def require(self, split: Split, sequence_length: int) -> None:
        """Raise FwplanError unless a split holds one training sequence: sequence_length inputs and one more target."""
        if self.tokens(split) <= sequence_length:
            raise too_short(split, self.tokens(split), sequence_length, self.directory)


def too_short(split: Split, tokens: int, sequence_length: int, folder: Path) -> FwplanError:
    """Return the error for a split that holds no training sequence."""
    return FwplanError(
        f"the {split} split holds {tokens:,} tokens; "
        f"sequence_length {sequence_length} needs at least {sequence_length + 1:,}",
        where=str(folder),
        hint="bring more text, shorten sequence_length, or give data prepare a larger --val-fraction",
    )


@contextmanager
def in_use(shards: TokenShards) -> Iterator[TokenShards]:
    """Yield the shards as they now are; while the block runs, no preparation replaces them.

    Tokens that fwplan did not prepare it never replaces, so nothing is written beside them.

    Raises:
        FwplanError: they are being replaced, or are no longer what was there.
    """
    if shards.meta is None:
        yield shards
        return
    with locked(shards.directory, "training on its tokens", shared=True, name=READING):
        yield open_shards(shards.directory)


def is_token_folder(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is a folder of tokens, prepared or brought, and not of parquet."""
    folder = user_path(path)
    return folder.is_dir() and ((folder / META).is_file() or find_token_files(folder) is not None)


def open_shards(directory: str | os.PathLike[str]) -> TokenShards:
    """Return the tokens in a folder, after checking each file's size: a truncated map would be read as zeros.

    Raises:
        FwplanError: there are none, or a file has not the size that meta.json or its own header states.
    """
    folder = user_path(directory)
    if (folder / META).is_file():
        return _prepared(folder, read_meta(folder))
    try:
        found = find_token_files(folder)
    except OSError as error:
        raise FwplanError(
            f"cannot read {str(folder)!r}: {error.strerror}", where=str(folder), hint="may you read it?"
        ) from error
    if found is None:
        raise FwplanError(
            f"no tokens in {str(folder)!r}: neither {META} nor train.bin, *_train_*.bin or *_train_*.npy",
            where=str(folder),
            hint="fwplan data prepare makes them from parquet",
        )
    kind, paths = found
    files = {split: tuple(read_header(kind, path) for path in paths[split]) for split in SPLITS}
    return TokenShards(folder, kind, files, None, _GPT2_END, None, None)


def _prepared(folder: Path, meta: dict[str, Any]) -> TokenShards:
    try:
        kind = meta["format"]
        if kind not in FORMATS:
            raise ValueError(f"format is {kind!r}, not {', '.join(FORMATS)}")  # noqa: TRY301
        if meta["dtype"] not in ("uint16", "uint32"):
            raise ValueError(f"dtype is {meta['dtype']!r}, not uint16 or uint32")  # noqa: TRY301
        dtype = np.dtype(meta["dtype"]).newbyteorder("<")
        files = {
            split: tuple(_stated(folder, kind, dtype, file) for file in meta["splits"][split]["files"])
            for split in SPLITS
        }
        shards = TokenShards(
            directory=folder,
            format=kind,
            files=files,
            vocab_size=_count(meta["tokenizer"]["vocab_size"]),
            end_of_text=_count(meta["tokenizer"]["end_of_text"]),
            documents={split: _count(meta["splits"][split]["documents"]) for split in SPLITS},
            meta=meta,
        )
    except (ValueError, TypeError, KeyError) as error:
        raise damaged(folder / META, error) from error
    for split in SPLITS:
        for file in shards.files[split]:
            _check_size(file)
    return shards


def _stated(folder: Path, kind: Format, dtype: np.dtype[Any], entry: dict[str, Any]) -> TokenFile:
    name = entry["name"]
    if not isinstance(name, str) or Path(name).name != name:
        raise ValueError(f"{name!r} is not the name of a file in this folder")
    return TokenFile(folder / name, header_bytes(kind), _count(entry["tokens"]), dtype)


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{value!r} is not a count")
    return value


def _check_size(file: TokenFile) -> None:
    name = file.path.name
    try:
        found = file.path.stat().st_size
    except OSError as error:
        raise FwplanError(
            f"cannot open {name}: {error.strerror}", where=str(file.path), hint="was it moved? prepare the data again"
        ) from error
    if found != file.bytes:
        raise FwplanError(
            f"{name} is {found:,} bytes; {META} says {file.bytes:,}",
            where=str(file.path),
            hint="it is truncated or was changed: prepare the data again",
        )
