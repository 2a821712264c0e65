"""What a folder of tokens holds, verified byte by byte, and what its documents say."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.data.formats import SPLITS, Split, end_of_text_first
from fwplan.data.shards import TokenShards, open_shards
from fwplan.data.tokenizer import DEFAULT, load_tokenizer
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    import numpy.typing as npt

    from fwplan.data.formats import TokenFile

_CHUNK = 2**22  # bytes
_SAMPLE_TOKENS = 120  # of a document that is shown


@dataclass(frozen=True)
class SplitReport:
    """What a split was found to hold."""

    tokens: int
    documents: int
    files: int
    largest_id: int | None  # None: no tokens
    longest: int  # tokens of the longest document, end-of-text included


@dataclass(frozen=True)
class Inspection:
    """What is in a folder of tokens. Where it was opened without meta.json, only what the files themselves say."""

    shards: TokenShards
    splits: dict[Split, SplitReport]
    checked: tuple[str, ...]  # what was verified
    samples: tuple[tuple[Split, int, str], ...]  # (split, document's number, text), the first tokens of each

    def as_dict(self) -> dict[str, Any]:
        """Return the inspection as `data inspect --json` prints it."""
        shards = self.shards
        return {
            "directory": str(shards.directory),
            "format": shards.format,
            "dtype": shards.dtype.name,
            "vocab_size": shards.vocab_size,
            "splits": {split: vars(report) for split, report in self.splits.items()},
            "checked": list(self.checked),
            "samples": [{"split": split, "document": number, "text": text} for split, number, text in self.samples],
            "meta": shards.meta,
        }


def inspect(
    directory: str | os.PathLike[str], *, samples: int = 3, progress: Callable[[int, int], None] | None = None
) -> Inspection:
    """Return what a folder of tokens holds, after reading all of it.

    Args:
        directory: prepared by fwplan, or in the format of nanoGPT, build-nanogpt, llm.c or modded-nanogpt.
        samples: documents to decode, evenly spaced over the training split.
        progress: called with (bytes read, bytes in all).

    Raises:
        FwplanError: there are no tokens, or something is not as meta.json, a header or the index of documents says.
    """
    shards = open_shards(directory)
    tell, total, done = progress or (lambda _done, _total: None), _bytes(shards), 0
    checked, reports = ["sizes"], dict[Split, SplitReport]()
    for split in SPLITS:
        largest, ends_found = -1, 0
        for number, file in enumerate(shards.files[split]):
            digest, top, found = _read(file, shards.end_of_text, partial(_tell, tell, done, total))
            done += file.bytes
            _check_hash(shards, split, number, digest)
            largest, ends_found = max(largest, top), ends_found + found
        _check_range(shards, split, largest)
        reports[split] = _report(shards, split, largest, ends_found)
    if shards.meta is not None:
        checked += ["SHA-256 of each file", f"ids below {shards.vocab_size:,}", "an end-of-text at each document's end"]
    return Inspection(shards, reports, tuple(checked), tuple(_samples(shards, samples)))


def _tell(progress: Callable[[int, int], None], before: int, total: int, done: int) -> None:
    progress(before + done, total)


def _bytes(shards: TokenShards) -> int:
    return sum(file.bytes for split in SPLITS for file in shards.files[split])


def _read(file: TokenFile, end_of_text: int, tell: Callable[[int], None]) -> tuple[str, int, int]:
    """Return (SHA-256 of the file, its largest id or -1, its end-of-text tokens), in one pass."""
    digest, largest, ends, done = hashlib.sha256(), -1, 0, 0
    with file.path.open("rb") as opened:
        digest.update(opened.read(file.offset))
        while piece := opened.read(_CHUNK):
            digest.update(piece)
            tokens = np.frombuffer(piece, file.dtype)
            largest = max(largest, int(tokens.max()))
            ends += int(np.count_nonzero(tokens == end_of_text))
            done += len(piece)
            tell(done)
    return digest.hexdigest(), largest, ends


def _check_hash(shards: TokenShards, split: Split, number: int, digest: str) -> None:
    if shards.meta is None:
        return
    stated, file = shards.meta["splits"][split]["files"][number].get("sha256"), shards.files[split][number]
    if digest != stated:
        raise FwplanError(
            f"{file.path.name} is not what was written: its SHA-256 is {digest[:12]}..., meta.json says "
            f"{str(stated)[:12]}...",
            where=str(file.path),
            hint="it was changed or damaged on disk: prepare the data again",
        )


def _check_range(shards: TokenShards, split: Split, largest: int) -> None:
    if shards.vocab_size is not None and largest >= shards.vocab_size:
        raise FwplanError(
            f"the {split} split holds id {largest}, above its vocabulary of {shards.vocab_size:,}",
            where=str(shards.directory),
            hint="prepare the data again",
        )


def _report(shards: TokenShards, split: Split, largest: int, ends_found: int) -> SplitReport:
    tokens, ends = shards.tokens(split), shards.ends(split)
    if shards.documents is not None:
        _check_ends(shards, split, ends, ends_found)
    longest = int(np.diff(ends, prepend=0).max()) if len(ends) else 0
    return SplitReport(tokens, len(ends), len(shards.files[split]), largest if tokens else None, longest)


def _check_ends(shards: TokenShards, split: Split, ends: npt.NDArray[np.int64], ends_found: int) -> None:
    """Raise unless the index says where the end-of-text tokens are, and there is one for each document."""
    tokens, sequence = shards.tokens(split), shards.sequence(split)
    marks = np.concatenate([[0], ends[:-1]])[: len(ends)] if end_of_text_first(shards.format) else ends - 1
    ascending = bool((np.diff(ends, prepend=0) > 0).all()) and (not len(ends) or int(ends[-1]) == tokens)
    places = marks[:: max(len(marks) // 1000, 1)]
    found = ascending and all(int(sequence[p : p + 1][0]) == shards.end_of_text for p in places.tolist())
    if not found or ends_found != len(ends):
        raise FwplanError(
            f"the index of the {split} split does not fit its tokens: {len(ends):,} documents, {ends_found:,} "
            "end-of-text tokens",
            where=str(shards.directory),
            hint="prepare the data again",
        )


def _samples(shards: TokenShards, count: int) -> list[tuple[Split, int, str]]:
    """Return the beginnings of a few documents, decoded; none where nobody says by which tokenizer."""
    name = shards.meta["tokenizer"]["name"] if shards.meta else DEFAULT
    ends, tokens = shards.ends("train"), shards.sequence("train")
    decode, found = load_tokenizer(name).decode, list[tuple[Split, int, str]]()
    for n in range(min(count, len(ends))):
        number = (2 * n + 1) * len(ends) // (2 * min(count, len(ends)))
        start, stop = int(ends[number - 1]) if number else 0, int(ends[number])
        ids = [i for i in tokens[start : min(stop, start + _SAMPLE_TOKENS)].tolist() if i != shards.end_of_text]
        try:
            text = decode(ids)
        except KeyError:  # brought from elsewhere, and not GPT-2's tokens
            text = f"not GPT-2's tokens: {ids[:8]} ..."
        found.append(("train", number, text))
    return found
