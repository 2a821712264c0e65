"""Which tokenizer a data set is made with: gpt2, tiktoken:NAME or bytes, by one small interface."""

from __future__ import annotations

import base64
import hashlib
import threading
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.data import gpt2
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt
    import tiktoken

DEFAULT = "gpt2"
LOAD_SECONDS = 30.0  # tiktoken downloads its tables without a timeout: behind a silent firewall it would hang


@dataclass(frozen=True)
class Tokenizer:
    """Text to token ids and back. `encode` takes one document and adds no end-of-text."""

    name: str
    vocab_size: int
    end_of_text: int
    sha256: str  # of the table of tokens: for gpt2 that of OpenAI's own r50k_base.tiktoken
    encode: Callable[[str], npt.NDArray[Any]] = field(compare=False, repr=False)
    decode: Callable[[Sequence[int]], str] = field(compare=False, repr=False)

    @property
    def dtype(self) -> np.dtype[Any]:
        """The smallest type that holds every id: little-endian uint16, or uint32 above 65,536 ids."""
        return np.dtype("<u2" if self.vocab_size <= 2**16 else "<u4")

    def describe(self) -> dict[str, str | int]:
        """Return what a sidecar says of it."""
        return {
            "name": self.name,
            "vocab_size": self.vocab_size,
            "end_of_text": self.end_of_text,
            "sha256": self.sha256,
        }


@cache
def load_tokenizer(name: str = DEFAULT) -> Tokenizer:
    """Return the tokenizer of that name, built once per process.

    Args:
        name: "gpt2", built from what ships with fwplan; "bytes", UTF-8 bytes and an end-of-text; or "tiktoken:NAME",
            whose table tiktoken has in its cache (TIKTOKEN_CACHE_DIR) or downloads.

    Raises:
        FwplanError: there is no such tokenizer, or its table cannot be had.
    """
    if name in (DEFAULT, "tiktoken:gpt2", "tiktoken:r50k_base"):
        return Tokenizer(DEFAULT, gpt2.VOCAB, gpt2.END_OF_TEXT, gpt2.RANKS_SHA256, gpt2.encode, gpt2.decode)
    if name == "bytes":
        table = hashlib.sha256(bytes(range(256))).hexdigest()
        return Tokenizer(name, 257, 256, table, _encode_bytes, _decode_bytes)
    kind, _, encoding = name.partition(":")
    if kind != "tiktoken" or not encoding:
        raise FwplanError(f"unknown tokenizer {name!r}", hint="use gpt2, bytes or tiktoken:NAME")
    return _from_tiktoken(name, _load_in_time(encoding))


def _encode_bytes(text: str) -> npt.NDArray[np.uint8]:
    return np.frombuffer(text.encode(), np.uint8)


def _decode_bytes(tokens: Sequence[int]) -> str:
    return bytes(token for token in tokens if token < 256).decode(errors="replace")


def _from_tiktoken(name: str, encoding: tiktoken.Encoding) -> Tokenizer:
    try:
        end_of_text = encoding.eot_token
    except KeyError:
        raise FwplanError(f"{name} has no <|endoftext|>", hint="use one that has: gpt2, tiktoken:o200k_base") from None
    ranks = encoding._mergeable_ranks  # noqa: SLF001 (tiktoken offers the table nowhere else)
    return Tokenizer(
        name, encoding.n_vocab, end_of_text, ranks_sha256(ranks), partial(_encode, encoding), encoding.decode
    )


def _encode(encoding: tiktoken.Encoding, text: str) -> npt.NDArray[np.uint32]:
    try:
        return encoding.encode_to_numpy(text, disallowed_special=())
    except ValueError as error:
        raise FwplanError(
            f"{encoding.name} cannot split a document of {len(text):,} characters: {error}",
            hint="it may hold a run of a million spaces; gpt2 can take those",
        ) from error


def ranks_sha256(ranks: dict[bytes, int]) -> str:
    """Return the SHA-256 of a table of tokens written as OpenAI's .tiktoken files are."""
    return hashlib.sha256(tiktoken_file(ranks)).hexdigest()


def tiktoken_file(ranks: dict[bytes, int]) -> bytes:
    """Return a table of tokens as a .tiktoken file: a line of base64 and rank for each."""
    ordered = sorted(ranks.items(), key=lambda item: item[1])
    return b"".join(base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in ordered)


def _load_in_time(encoding: str) -> tiktoken.Encoding:
    """Return tiktoken's encoding of that name; gives up on a download after LOAD_SECONDS."""
    import tiktoken  # noqa: PLC0415

    if encoding not in tiktoken.list_encoding_names():
        known = ", ".join(sorted(tiktoken.list_encoding_names()))
        raise FwplanError(f"tiktoken knows no encoding {encoding!r}", hint=f"it knows {known}")
    found: list[tiktoken.Encoding | Exception] = []
    thread = threading.Thread(target=_load_into, args=(found, encoding), daemon=True)
    thread.start()
    thread.join(LOAD_SECONDS)
    if not found or isinstance(found[0], Exception):
        reason = str(found[0]).splitlines()[0][:200] if found else f"no answer in {LOAD_SECONDS:.0f} s"
        raise FwplanError(
            f"cannot load tiktoken's {encoding!r}, which is downloaded on first use: {reason}",
            hint="load it once where there is a network, and point TIKTOKEN_CACHE_DIR at a copy of its cache",
        )
    return found[0]


def _load_into(found: list[Any], encoding: str) -> None:
    import tiktoken  # noqa: PLC0415

    try:
        found.append(tiktoken.get_encoding(encoding))
    except Exception as error:  # noqa: BLE001 (a thread's failure is handed to its caller, whatever it is)
        found.append(error)
