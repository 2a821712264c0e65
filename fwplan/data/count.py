"""How many tokens parquet files hold, by the cheapest honest way."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from fwplan.data import sampling
from fwplan.data.declared import Checked, check_columns, declared_tokens
from fwplan.data.encode import EncodeTask, encode_window
from fwplan.data.formats import SPLITS
from fwplan.data.parquet import Source, Window, open_sources, windows
from fwplan.data.pool import cpus, ordered_map
from fwplan.data.rows import read_window
from fwplan.data.text_column import TEXT
from fwplan.data.tokenizer import DEFAULT, load_tokenizer
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from fwplan.data.tokenizer import Tokenizer

Tier = Literal["token_count column", "sampled", "tokenized"]


@dataclass(frozen=True)
class TokenCount:
    """Tokens that training would see, and how well that is known."""

    tokens: int  # including one end-of-text per document
    documents: int  # rows whose text is neither null nor empty
    bytes: int  # of UTF-8 text; by the footers or the documents that were read, unless all were
    tier: Tier  # "token_count column": as the files declare; "tokenized": every document was read
    low: int  # 95 % interval from the spread within the sample; equals tokens where nothing was sampled
    high: int
    rows: int
    files: int
    file_bytes: int  # on disk
    tokenizer: str
    bytes_per_token: int  # on disk, once prepared
    checked: int  # documents whose tokens were counted, to check a column or to scale from
    checked_files: int  # that they are of, where a column was checked; else all
    bytes_per_second: float | None  # of text that one core tokenized here; None: too little to tell
    notes: tuple[str, ...] = ()

    @property
    def disk_bytes(self) -> int:
        """What `prepare` would write: tokens and the index of documents."""
        return self.tokens * self.bytes_per_token + 8 * self.documents


def count_tokens(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    tokenizer: str = DEFAULT,
    exact: bool = False,
    workers: int | None = None,
    text_column: str = TEXT,
    progress: Callable[[int, int], None] | None = None,
) -> TokenCount:
    """Return the tokens in parquet files (a file, folder, glob or list): declared if they say, else from a sample.

    Args:
        paths: a file, a folder, a glob, or a list of those.
        tokenizer: as for prepare.
        exact: tokenize every document.
        workers: processes for that; None: one per CPU.
        text_column: the column that holds the documents.
        progress: called with (bytes done, bytes in all) while every document is tokenized.

    Raises:
        FwplanError: a file is missing, damaged or has no text.
    """
    sources, made_with, notes = open_sources(paths, text_column), load_tokenizer(tokenizer), list[str]()
    counter = _Counter(sources, made_with)
    if exact:
        return counter.exactly(workers or cpus(), progress or (lambda _done, _total: None))
    declared = declared_tokens(sources) if made_with.name == DEFAULT else None
    if declared is not None:
        checked = check_columns(sources, counter.measure_text)
        if not checked.wrong:
            return counter.declared(*declared, checked)
        notes.append(_wrong(checked))
    return counter.sampled(notes)


def _wrong(checked: Checked) -> str:
    """Return the note on columns that are not used."""
    source, off = max(checked.wrong, key=lambda found: abs(found[1]))
    others = f", and in {len(checked.wrong) - 1} more," if len(checked.wrong) > 1 else ""
    files = f" of {checked.files:,} files" if checked.files > 1 else ""
    return (
        f"token_count is {off:+.1%} off in {source.path.name}{others}{files}, by {checked.documents:,} documents that "
        "were tokenized: not used"
    )


class _Counter:
    """Counts the tokens of files, and how fast that goes."""

    def __init__(self, sources: list[Source], tokenizer: Tokenizer) -> None:
        self.sources, self.tokenizer = sources, tokenizer
        self.groups = [group for source in sources for group in source.groups]
        tokenizer.encode("")  # builds it, which is no part of the pace
        self.seconds, self.encoded_bytes, self.documents = 0.0, 0, 0

    def result(
        self, tokens: int, documents: int, size: int, tier: Tier, *, spread: int = 0, files: int | None = None
    ) -> TokenCount:
        return TokenCount(
            tokens=tokens,
            documents=documents,
            bytes=size,
            tier=tier,
            low=max(0, tokens - spread),
            high=tokens + spread,
            rows=sum(source.rows for source in self.sources),
            files=len(self.sources),
            file_bytes=sum(source.size for source in self.sources),
            tokenizer=self.tokenizer.name,
            bytes_per_token=self.tokenizer.dtype.itemsize,
            checked=self.documents,
            checked_files=len(self.sources) if files is None else files,
            bytes_per_second=self.encoded_bytes / self.seconds if self.encoded_bytes >= 10_000 else None,
        )

    def declared(self, tokens: int, documents: int, checked: Checked) -> TokenCount:
        """Return what the token_count columns say, with the footers' bytes where those are of plain text."""
        footers = sum(group.text_bytes for group in self.groups)
        scaled = round(tokens * checked.bytes / max(checked.tokens, 1))
        size = scaled if scaled > 2 * footers else footers  # a dictionary is told by far fewer bytes than its documents
        return self.result(tokens, documents, size, "token_count column", files=checked.files)

    def sampled(self, notes: list[str]) -> TokenCount:
        """Return the tokens by a sample; of all documents where they are hardly more."""
        self.documents = 0  # those of a check are not of the sample
        sizes = sampling.sizes_of(self.groups)
        if sum(sizes) <= sampling.PLACES * sampling.UNIT_BYTES:
            return replace(self._all(), notes=tuple(notes))
        found = sampling.estimate(list(sampling.look(self.groups, sizes, self.measure)), sum(sizes))
        if not found.document_share:
            raise _no_text(sum(source.rows for source in self.sources))
        documents = round(found.document_share * sum(group.rows for group in self.groups))
        count = self.result(round(found.tokens), documents, round(found.bytes), "sampled", spread=round(found.spread))
        return replace(count, notes=tuple(notes))

    def _all(self) -> TokenCount:
        measured = [self.measure(window) for window in windows(self.sources)]
        if not self.documents:
            raise _no_text(sum(source.rows for source in self.sources))
        tokens, size = (sum(column) for column in zip(*measured, strict=True))
        return self.result(tokens, self.documents, size, "tokenized")

    def exactly(self, workers: int, progress: Callable[[int, int], None]) -> TokenCount:
        """Return the tokens of every document, counted by a pool of processes as prepare does."""
        found, tokens, done = windows(self.sources), 0, 0
        total = sum(window.text_bytes for window in found)
        tasks = (EncodeTask(window, 0, self.tokenizer.name) for window in found)
        begin = time.perf_counter()
        workers = min(workers, len(found))
        for window, (documents, counted, size) in zip(found, ordered_map(_totals, tasks, workers), strict=True):
            self.documents, tokens, done = self.documents + documents, tokens + counted, done + window.text_bytes
            self.encoded_bytes += size
            progress(done, total)
        if not self.documents:
            raise _no_text(sum(source.rows for source in self.sources))
        self.seconds = workers * (time.perf_counter() - begin)
        return self.result(tokens, self.documents, self.encoded_bytes, "tokenized")

    def measure(self, window: Window) -> tuple[int, int]:
        """Return (tokens, bytes) of a window's texts."""
        texts = [text for text in read_window(window).texts if text is not None]
        measured = [self.measure_text(text) for text in texts]
        return sum(tokens for tokens, _ in measured), sum(size for _, size in measured)

    def measure_text(self, text: str) -> tuple[int, int]:
        """Return (tokens with end-of-text, bytes) of a text."""
        size, begin = len(text.encode()), time.perf_counter()
        tokens = len(self.tokenizer.encode(text)) + 1
        self.seconds += time.perf_counter() - begin
        self.encoded_bytes += size
        self.documents += 1
        return tokens, size


def _totals(task: EncodeTask) -> tuple[int, int, int]:
    """Return (documents, tokens, bytes of text) of a window."""
    encoded = encode_window(task)
    parts = [encoded.parts[split] for split in SPLITS]
    return sum(len(part.lengths) for part in parts), sum(len(part.tokens) for part in parts), encoded.text_bytes


def _no_text(rows: int) -> FwplanError:
    return FwplanError(
        f"the {rows:,} rows that were read hold no text: each is null or empty",
        hint='is it the right file and column? FineWeb keeps its text in "text"; --text-column names another',
    )
