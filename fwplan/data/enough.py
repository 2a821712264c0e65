"""Whether either split will hold a training sequence, found out before everything is tokenized."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.data.encode import EncodeTask, choose_texts, text_hash
from fwplan.data.formats import SPLITS
from fwplan.data.shards import too_short

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from fwplan.data.tokenizer import Tokenizer


def require_sequences(tasks: Iterable[EncodeTask], tokenizer: Tokenizer, sequence_length: int, folder: Path) -> None:
    """Raise FwplanError unless both splits will hold sequence_length inputs and one more target.

    No more is tokenized than it takes to know: most often a few documents of the first window. Where a split proves too
    short, all has been read and that split tokenized, which for validation is a hundredth.
    """
    counts = {split: _Count(tokenizer, sequence_length) for split in SPLITS}
    lowest: list[str] = []
    for task in tasks:
        chosen, _ = choose_texts(task)
        for split, texts in chosen.items():
            counts[split].add(texts, once=task.digests)
        if all(count.enough for count in counts.values()):
            return
        if task.threshold and not counts["val"].tokens:
            lowest = _lowest([*lowest, *chosen["train"]])
    if not counts["val"].tokens:  # validation then gets that document
        counts["val"].add(lowest, once=task.digests)
    for split, count in counts.items():
        if not count.enough:
            raise too_short(split, count.tokens, sequence_length, folder)


def _lowest(texts: list[str]) -> list[str]:
    """Return the text of the smallest hash, as often as it is there."""
    least = min(map(text_hash, texts), default=None)
    return [text for text in texts if text_hash(text) == least]


class _Count:
    """A split's tokens, counted until there are enough."""

    def __init__(self, tokenizer: Tokenizer, sequence_length: int) -> None:
        self.tokenizer, self.sequence_length = tokenizer, sequence_length
        self.tokens = 0
        self._seen: set[int] = set()  # hashes

    @property
    def enough(self) -> bool:
        return self.tokens > self.sequence_length

    def add(self, texts: list[str], *, once: bool) -> None:
        for text in texts:
            if self.enough:
                return
            key = text_hash(text)
            if not (once and key in self._seen):
                self._seen.add(key)
                self.tokens += len(self.tokenizer.encode(text)) + 1
