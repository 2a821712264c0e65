"""One window of rows into raw tokens for either split: what a worker process does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fwplan.data.fast import fast_tokenizer
from fwplan.data.formats import SPLITS, Split
from fwplan.data.rows import read_window
from fwplan.data.tokenizer import Tokenizer, load_tokenizer

if TYPE_CHECKING:
    import numpy.typing as npt

    from fwplan.data.parquet import Window

HASH_SPAN = 2**64
DIGEST = np.dtype("S16")  # of a text, to tell whether it was there before; 128 bits: chance makes no two alike


class EncodeTask(NamedTuple):
    """What a worker is sent."""

    window: Window
    threshold: int  # of HASH_SPAN: a document whose text hash is below it is for validation
    tokenizer: str = "gpt2"
    fast: bool = False
    end_first: bool = False  # end-of-text before each document, not after
    min_score: float | None = None  # of language_score; a row without a score is left out
    digests: bool = False


@dataclass
class Part:
    """A split's share of a window."""

    tokens: npt.NDArray[Any]  # (n,) in the data set's type, end-of-text included
    lengths: npt.NDArray[np.int64]  # (documents,) tokens of each, end-of-text included
    digests: npt.NDArray[np.bytes_] | None  # (documents,) DIGEST


@dataclass
class Encoded:
    """What a worker sends back: tokens per split, and what went into them."""

    parts: dict[Split, Part] = field(default_factory=dict)
    text_bytes: int = 0  # of UTF-8, in these documents
    empty: int = 0  # rows with null or empty text
    low_score: int = 0
    lowest: int = HASH_SPAN  # smallest and largest text hash seen
    highest: int = -1


def text_hash(text: str) -> int:
    """Return a document's hash, below HASH_SPAN: it depends on the text alone, so that more files move nothing."""
    return _hash(text.encode())


def _hash(raw: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")


def encode_window(task: EncodeTask) -> Encoded:
    """Return a window's tokens; each row is a document of one split, empty, or below the score.

    Raises:
        FwplanError: the file cannot be read, or gave fewer rows than its footer says.
    """
    tokenizer = _tokenizer(task.tokenizer, task.fast)
    chosen, encoded = choose_texts(task)
    encoded.parts = {split: _part(texts, tokenizer, task) for split, texts in chosen.items()}
    return encoded


def choose_texts(task: EncodeTask) -> tuple[dict[Split, list[str]], Encoded]:
    """Return a window's documents by split, and what became of its rows, with no tokens yet."""
    encoded = Encoded()
    rows = read_window(task.window, scores=task.min_score is not None)
    chosen: dict[Split, list[str]] = {split: [] for split in SPLITS}
    for number, text in enumerate(rows.texts):
        if text is None:
            encoded.empty += 1
        elif rows.scores is not None and not _reaches(rows.scores[number], task.min_score):
            encoded.low_score += 1
        else:
            raw = text.encode()
            key, encoded.text_bytes = _hash(raw), encoded.text_bytes + len(raw)
            chosen["val" if key < task.threshold else "train"].append(text)
            encoded.lowest, encoded.highest = min(encoded.lowest, key), max(encoded.highest, key)
    return chosen, encoded


@cache
def _tokenizer(name: str, fast: bool) -> Tokenizer:
    found = fast_tokenizer(name) if fast else None
    return found or load_tokenizer(name)


def _reaches(score: float | None, least: float | None) -> bool:
    return score is not None and least is not None and score >= least


def _part(texts: list[str], tokenizer: Tokenizer, task: EncodeTask) -> Part:
    """Return the texts' tokens as one array. The cast cannot wrap: the type is chosen for the vocabulary."""
    end = np.array([tokenizer.end_of_text], tokenizer.dtype)
    pieces = [tokens for text in texts for tokens in _with_end(tokenizer.encode(text), end, first=task.end_first)]
    lengths = np.array([len(a) + len(b) for a, b in zip(pieces[::2], pieces[1::2], strict=True)], np.int64)
    tokens = np.concatenate([end[:0], *pieces], dtype=tokenizer.dtype, casting="unsafe")
    return Part(tokens, lengths, _digests(texts) if task.digests else None)


def _with_end(tokens: Any, end: Any, *, first: bool) -> tuple[Any, Any]:
    return (end, tokens) if first else (tokens, end)


def _digests(texts: list[str]) -> npt.NDArray[np.bytes_]:
    raw = b"".join(hashlib.blake2b(text.encode(), digest_size=DIGEST.itemsize).digest() for text in texts)
    return np.frombuffer(raw, DIGEST)
