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
    lowest: str | None = None
    for task in tasks:
        chosen, _ = choose_texts(task)
        for split, texts in chosen.items():
            counts[split].add(texts)
        if all(count.enough for count in counts.values()):
            return
        if task.threshold and not counts["val"].seen and chosen["train"]:
            lowest = min([*chosen["train"], *([lowest] if lowest else [])], key=text_hash)
    if lowest is not None and not counts["val"].seen:  # validation then gets that one
        counts["val"].add([lowest])
    for split, count in counts.items():
        if not count.enough:
            raise too_short(split, count.tokens, sequence_length, folder)


class _Count:
    """A split's tokens, counted until there are enough."""

    def __init__(self, tokenizer: Tokenizer, sequence_length: int) -> None:
        self.tokenizer, self.sequence_length = tokenizer, sequence_length
        self.tokens = 0
        self.seen: set[int] = set()  # hashes: what is there twice may count once

    @property
    def enough(self) -> bool:
        return self.tokens > self.sequence_length

    def add(self, texts: list[str]) -> None:
        for text in texts:
            if self.enough:
                return
            if (key := text_hash(text)) not in self.seen:
                self.seen.add(key)
                self.tokens += len(self.tokenizer.encode(text)) + 1
