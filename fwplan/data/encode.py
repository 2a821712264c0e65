"""One row group of text into raw tokens for train.bin and val.bin: what a worker process does."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from fwplan.data.parquet import RowGroup, text_batches
from fwplan.data.shards import DTYPE
from fwplan.data.tokenizer import END_OF_TEXT, encode
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from fwplan.data.shards import Split

HASH_SPAN = 2**64
_END = np.array([END_OF_TEXT], DTYPE).tobytes()


class EncodeTask(NamedTuple):
    """What a worker is sent: a row group, and below which text hash a document is for validation."""

    group: RowGroup
    threshold: int  # of HASH_SPAN


@dataclass
class EncodedGroup:
    """What a worker sends back: raw little-endian uint16 per split, and what went into it."""

    tokens: dict[Split, bytearray] = field(default_factory=lambda: {"train": bytearray(), "val": bytearray()})
    documents: dict[Split, int] = field(default_factory=lambda: {"train": 0, "val": 0})
    skipped: int = 0  # rows with null or empty text
    lowest: int = HASH_SPAN  # smallest and largest text hash seen
    highest: int = -1

    def add(self, text: str, threshold: int) -> None:
        """Append one document and its end-of-text to the split that its hash chooses."""
        key = text_hash(text)
        split: Split = "val" if key < threshold else "train"
        self.tokens[split] += encode(text).astype(DTYPE, copy=False).tobytes()
        self.tokens[split] += _END
        self.documents[split] += 1
        self.lowest, self.highest = min(self.lowest, key), max(self.highest, key)


def text_hash(text: str) -> int:
    """Return a document's hash, below HASH_SPAN: it depends on the text alone, so that more files move nothing."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def encode_group(task: EncodeTask) -> EncodedGroup:
    """Return a row group's tokens.

    Raises:
        FwplanError: the file cannot be read, or gave more or fewer rows than its footer says.
    """
    group, encoded = task.group, EncodedGroup()
    for texts in text_batches(group):
        for text in texts:
            if text is None:
                encoded.skipped += 1
            else:
                encoded.add(text, task.threshold)
    rows = encoded.skipped + sum(encoded.documents.values())
    if rows != group.rows:
        raise FwplanError(
            f"row group {group.index} gave {rows} rows, not {group.rows}",
            where=str(group.path),
            hint="the file changed while it was read, or is damaged: fetch it again",
        )
    return encoded
