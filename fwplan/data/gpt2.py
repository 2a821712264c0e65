"""GPT-2's byte-pair encoding, rebuilt from the merges file that ships with fwplan; never touches the network.

`tiktoken.get_encoding("gpt2")` downloads its table without a timeout, so it fails offline and hangs behind a silent
firewall. The merges file alone determines every rank: the result is the official r50k_base table, byte for byte.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import tiktoken

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

NAME = "gpt2"
VOCAB = 50_257
END_OF_TEXT = 50_256
VOCAB_SHA256 = "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"  # of vocab.bpe, uncompressed
RANKS_SHA256 = "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930"  # of OpenAI's r50k_base.tiktoken

# GPT-2's split pattern, equal to the original and, tokens included, 1.6 times quicker than as tiktoken writes it:
# 0.88 s of processor time for 23 MB of prose, not 1.45. tiktoken's engine hands what needs no look-around to one that
# is far faster, but only a group as a whole: so all but two alternatives stand in a group. What else differs changes
# nothing: letters come before contractions, which begin with an apostrophe that no letter is, and none of these
# alternatives needs a possessive quantifier, because nothing follows it that could fail.
PATTERN = r"""(?: ?\p{L}+|'(?:[sdmt]|ll|ve|re)| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+$)|\s+(?!\S)|\s"""

# What \s means in that pattern (Unicode White_Space); Python's own \s also takes \x1c to \x1f.
_SPACE = r"[\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]"
_BEFORE_SPACE = re.compile(r"[A-Za-z](?= )")
LONG_TEXT = 2**20  # characters
_LONG_SPACE = 10_000  # characters; the pattern's backtracking gives up near a million, far above any real run


@cache
def gpt2_encoding() -> tiktoken.Encoding:
    """Return the GPT-2 encoding: 50,257 tokens, end-of-text 50,256. Built once per process, about 0.1 s."""
    return tiktoken.Encoding(
        NAME,
        pat_str=PATTERN,
        mergeable_ranks=ranks(),
        special_tokens={"<|endoftext|>": END_OF_TEXT},
        explicit_n_vocab=VOCAB,
    )


def encode(text: str) -> npt.NDArray[np.uint32]:
    """Return the GPT-2 tokens of one document, without end-of-text; a literal "<|endoftext|>" is plain text."""
    if len(text) > LONG_TEXT:
        return np.concatenate([_encode(part) for part in cut_long_text(text)])
    return _encode(text)


def _encode(text: str) -> npt.NDArray[np.uint32]:
    try:
        return gpt2_encoding().encode_to_numpy(text, disallowed_special=())
    except ValueError:  # a run of whitespace too long for the pattern
        parts = [gpt2_encoding().encode_to_numpy(part, disallowed_special=()) for part in cut_long_space(text)]
        return np.concatenate(parts)


def decode(tokens: Sequence[int]) -> str:
    """Return the text of tokens; what is no whole character becomes U+FFFD."""
    return gpt2_encoding().decode(tokens)


def cut_long_text(text: str, longest: int = LONG_TEXT) -> Iterator[str]:
    """Yield a long text in parts whose tokens, joined, are those of the whole, for less memory at a time.

    A part ends between an ASCII letter and a space. No piece of the pattern reaches over such a place: a space is only
    ever a piece's first character, or in a run of whitespace; and nothing looks back. Where there is no such place
    within `longest` characters of the last cut, the part is longer.
    """
    start = 0
    while len(text) - start > longest:
        cut = _BEFORE_SPACE.search(text, start + longest - 1)
        if cut is None:
            break
        yield text[start : cut.end()]
        start = cut.end()
    yield text[start:]


def cut_long_space(text: str, longest: int = _LONG_SPACE) -> list[str]:
    """Return `text` in parts whose tokens, joined, are those of the whole.

    Of a run of whitespace before a word, the pattern takes all but the last character as one piece. A part that ends
    there ends in whitespace, which the pattern takes whole and without backtracking: the same piece.
    """
    cuts = [match.end() - 1 for match in re.finditer(f"{_SPACE}{{{longest},}}", text) if match.end() < len(text)]
    return [text[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _read_merges() -> bytes:
    """Return the bytes of vocab.bpe, verified."""
    asset = resources.files("fwplan.data") / "assets" / "vocab.bpe.gz"
    try:
        merges = gzip.decompress(asset.read_bytes())
    except (OSError, EOFError) as error:
        merges = str(error).encode()
    if hashlib.sha256(merges).hexdigest() != VOCAB_SHA256:
        raise FwplanError(
            "GPT-2's vocabulary file is missing or damaged",
            where=str(asset),
            hint="install fwplan again: pip install --force-reinstall --no-deps fwplan",
        )
    return merges


def ranks() -> dict[bytes, int]:
    """Return every token but end-of-text with its rank; 0.05 s."""
    return _ranks(_read_merges())


def _ranks(merges: bytes) -> dict[bytes, int]:
    """Return every mergeable token with its rank, in order: 256 single bytes, then one per merge.

    vocab.bpe writes a byte as a printable character: itself where that is printable, else the next one from U+0100.
    """
    printable = [byte for byte in range(256) if chr(byte).isprintable() and byte != ord(" ")]
    others = [byte for byte in range(256) if byte not in set(printable)]
    byte_of = {chr(byte): byte for byte in printable} | {chr(256 + n): byte for n, byte in enumerate(others)}
    pairs = merges.decode().split("\n")[1:-1]  # the first line is a version, the last is empty
    tokens = [bytes([byte]) for byte in printable + others]
    tokens += [bytes(byte_of[char] for char in pair if char != " ") for pair in pairs]
    return {token: rank for rank, token in enumerate(tokens)}
