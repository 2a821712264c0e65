"""The same tokens sooner: gigatoken in tiktoken's place, where it is installed and agrees on the data at hand.

gigatoken 0.10 encodes 126 to 260 MB/s on one core of an Intel Xeon where tiktoken as it comes does 17 (32.7 MB of
free text, tokens identical); fastokens 0.3.5 does 35 to 50 there. Its cache of words has no bound: 80 MB of random
words took it from 46 to 736 MB. So it is built again, in about 0.05 s, whenever the process has grown by _MOST_GROWTH.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.data.gpt2 import LONG_TEXT, cut_long_text, encode, ranks
from fwplan.data.tokenizer import DEFAULT, Tokenizer, load_tokenizer, tiktoken_file
from fwplan.data.young import holds_young

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import ModuleType

    import numpy.typing as npt

_STATM = Path("/proc/self/statm")
_PAGE = 4096
_MOST_GROWTH = 100 * 2**20  # bytes of resident memory since it was built
_MOST_TEXT = 32 * 2**20  # characters since it was built, where resident memory cannot be read
_CHECK_EVERY = 2**20  # characters


class _Gigatoken:
    """A function from a document to its tokens, with bounded memory; tiktoken's where it may not know a character."""

    def __init__(self, gigatoken: ModuleType, table: bytes, split: str) -> None:
        self._gigatoken, self._table, self._split = gigatoken, table, split
        self._build()

    def __call__(self, text: str) -> npt.NDArray[np.uint32]:
        if holds_young(text):
            return encode(text)
        if len(text) > LONG_TEXT:
            return np.concatenate([self._encode(part) for part in cut_long_text(text)])
        return self._encode(text)

    def _encode(self, text: str) -> npt.NDArray[np.uint32]:
        tokens: npt.NDArray[np.uint32] = self._encoder.encode(text)
        self._unchecked += len(text)
        if self._unchecked >= _CHECK_EVERY:
            self._bound_memory()
        return tokens

    def _build(self) -> None:
        self._encoder: Any = None  # the old one goes first
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ranks.tiktoken"
            path.write_bytes(self._table)
            # no special tokens: a literal "<|endoftext|>" is plain text
            self._encoder = self._gigatoken.Tokenizer.from_tiktoken(path, self._split, {})
        self._start = _resident()
        self._unchecked = self._text = 0

    def _bound_memory(self) -> None:
        self._text, self._unchecked = self._text + self._unchecked, 0
        grown = None if self._start is None else (_resident() or 0) - self._start
        if (self._text > _MOST_TEXT) if grown is None else (grown > _MOST_GROWTH):
            self._build()


def _resident() -> int | None:
    """Return this process's resident bytes, or None where the system does not say."""
    try:
        return int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE
    except (OSError, ValueError, IndexError):
        return None


def fast_tokenizer(name: str) -> Tokenizer | None:
    """Return the tokenizer with gigatoken behind it; None where it is not installed or has no such tokenizer."""
    if name != DEFAULT:
        return None
    try:
        import gigatoken  # noqa: PLC0415  # fwplan[fast]
    except ImportError:
        return None
    return replace(load_tokenizer(name), encode=_Gigatoken(gigatoken, _gpt2_table(), "gpt2"))


@cache
def _gpt2_table() -> bytes:
    """Return GPT-2's tokens as a .tiktoken file: 0.8 MB, 0.2 s, so once a process and not once a preparation."""
    return tiktoken_file(ranks())


def choose(name: str, sample: Iterable[str]) -> tuple[bool, str | None]:
    """Return (whether to use gigatoken, what to tell the user), after comparing both on documents of the user's own.

    The notice is None where gigatoken is not installed, or does not know this tokenizer.
    """
    try:
        fast = fast_tokenizer(name)
    except Exception as error:  # noqa: BLE001 (a young optional package: whatever it does, tiktoken is there)
        return False, f"gigatoken does not start ({type(error).__name__}: {error}): tokenizing with tiktoken"
    if fast is None:
        return False, None
    exact, documents = load_tokenizer(name), 0
    for text in sample:
        try:
            same = np.array_equal(fast.encode(text), exact.encode(text))
        except Exception as error:  # noqa: BLE001
            return False, f"gigatoken failed on a document ({type(error).__name__}): tokenizing with tiktoken"
        if not same:
            return False, "gigatoken disagrees with tiktoken on this data: tokenizing with tiktoken"
        documents += 1
    if documents == 0:
        return False, None
    return True, f"tokenizing with gigatoken, which agrees with tiktoken on {documents} of these documents"
