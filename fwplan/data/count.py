"""How many tokens parquet files hold, by the cheapest honest way."""

from __future__ import annotations

import time
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from fwplan.data.encode import EncodeTask, encode_window
from fwplan.data.formats import SPLITS
from fwplan.data.parquet import Source, Window, open_sources, windows
from fwplan.data.pool import cpus, ordered_map
from fwplan.data.rows import read_window, token_counts
from fwplan.data.text_column import TEXT
from fwplan.data.tokenizer import DEFAULT, load_tokenizer
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from fwplan.data.tokenizer import Tokenizer

Tier = Literal["token_count column", "sampled", "tokenized"]

WINDOWS = 16  # evenly spaced: 0.8 % median error on shuffled data, 1 to 2.4 % where sources lie back to back
_T95 = 2.131  # Student's t for 95 % and WINDOWS - 1 degrees of freedom
_CHECKED_PLACES, _CHECKED_ROWS = 8, 8  # of a token_count column: 64 documents, 0.05 s
_CHECKED_CHARS = 2**19
_TOLERANCE = 0.005  # of their tokens; a column that is GPT-2's agrees to the token


@dataclass(frozen=True)
class TokenCount:
    """Tokens that training would see, and how well that is known."""

    tokens: int  # including one end-of-text per document
    documents: int  # rows whose text is neither null nor empty
    bytes: int  # of UTF-8 text; from the footers unless every document was read
    tier: Tier  # "token_count column": as the files declare; "tokenized": every document was read
    low: int  # 95 % interval from the spread within the sample; equals tokens where nothing was sampled
    high: int
    rows: int
    files: int
    file_bytes: int  # on disk
    tokenizer: str
    bytes_per_token: int  # on disk, once prepared
    checked: int  # documents whose tokens were counted, to check a column or to scale from
    bytes_per_second: float | None  # of text that one core tokenized here; None: too little to tell
    notes: tuple[str, ...] = ()

    @property
    def disk_bytes(self) -> int:
        """What `prepare` would write: tokens and the index of documents."""
        return self.tokens * self.bytes_per_token + 8 * self.documents


class _Window(NamedTuple):
    rows: int
    documents: int
    bytes: int
    footer_bytes: int  # the same, with what the footer's figure has on top; what all bytes are known in
    tokens: int


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
        off, checked = counter.check_column()
        if abs(off) <= _TOLERANCE:
            tokens, documents = declared
            return counter.result(tokens, documents, _text_bytes(sources), "token_count column", checked=checked)
        notes.append(f"token_count is {off:+.1%} off on {checked} documents that were tokenized: not used")
    return counter.sampled(notes)


def declared_tokens(sources: list[Source]) -> tuple[int, int] | None:
    """Return (GPT-2 tokens with end-of-text, documents) by the token_count columns; None unless every file has one.

    A row without text has a token_count of 0 or null, and is no document.
    """
    if not all(source.has_token_count for source in sources):
        return None
    import pyarrow.compute as pc  # noqa: PLC0415  # 0.08 s, which no worker process needs

    columns = [token_counts(source) for source in sources]
    tokens = sum(pc.sum(column, min_count=0).as_py() for column in columns)
    documents = sum(pc.sum(pc.greater(column, 0), min_count=0).as_py() for column in columns)
    return tokens + documents, documents


def _text_bytes(sources: list[Source]) -> int:
    return sum(group.text_bytes for source in sources for group in source.groups)


def spread(found: list[Window], places: int) -> list[Window]:
    """Return at most so many windows, evenly spaced."""
    if len(found) <= places:
        return found
    return [found[int((i + 0.5) * len(found) / places)] for i in range(places)]


class _Counter:
    """Counts the tokens of files, and how fast that goes."""

    def __init__(self, sources: list[Source], tokenizer: Tokenizer) -> None:
        self.sources, self.tokenizer = sources, tokenizer
        self.windows = windows(sources)
        tokenizer.encode("")  # builds it, which is no part of the pace
        self.seconds, self.encoded_bytes = 0.0, 0

    def result(
        self,
        tokens: int,
        documents: int,
        size: int,
        tier: Tier,
        *,
        checked: int,
        spread: int = 0,
        notes: Iterable[str] = (),
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
            checked=checked,
            bytes_per_second=self.encoded_bytes / self.seconds if self.encoded_bytes >= 10_000 else None,
            notes=tuple(notes),
        )

    def check_column(self) -> tuple[float, int]:
        """Return how far the token_count column is off, relatively, on a few documents, and how many they were.

        A few rows at the start of evenly spaced row groups: their first pages are all that is read.
        """
        declared = counted = checked = 0
        groups = {window.group: window for window in reversed(spread(self.windows, _CHECKED_PLACES))}
        left = _CHECKED_CHARS
        for group in groups:
            few = Window(group, 0, min(group.rows, _CHECKED_ROWS))
            rows = read_window(few, counts=True)
            for text, stated in zip(rows.texts, rows.counts or [], strict=True):
                if text is not None and len(text) <= left:
                    left -= len(text)
                    checked += 1
                    declared += stated or 0
                    counted += self._count(text) - 1  # the column leaves end-of-text out
        return ((declared - counted) / counted if counted else 0.0), checked

    def sampled(self, notes: list[str]) -> TokenCount:
        """Return the tokens of WINDOWS windows, scaled; of all windows where there are no more."""
        measured = [self._measure(window) for window in spread(self.windows, WINDOWS)]
        total = _sum(measured)
        if len(self.windows) <= WINDOWS:
            return self.result(
                total.tokens, total.documents, total.bytes, "tokenized", checked=total.documents, notes=notes
            )
        footer_bytes = _text_bytes(self.sources)
        ratio, deviation = _ratio(measured, WINDOWS / len(self.windows))
        return self.result(
            round(ratio * footer_bytes),
            round(sum(source.rows for source in self.sources) * total.documents / total.rows),
            round(footer_bytes * total.bytes / total.footer_bytes),
            "sampled",
            checked=total.documents,
            spread=round(_T95 * deviation * footer_bytes),
            notes=notes,
        )

    def exactly(self, workers: int, progress: Callable[[int, int], None]) -> TokenCount:
        """Return the tokens of every document, counted by a pool of processes as prepare does."""
        total, done, documents, tokens = sum(window.text_bytes for window in self.windows), 0, 0, 0
        tasks = (EncodeTask(window, 0, self.tokenizer.name) for window in self.windows)
        begin = time.perf_counter()
        workers = min(workers, len(self.windows))
        for window, encoded in zip(self.windows, ordered_map(_lengths, tasks, workers), strict=True):
            documents, tokens, done = documents + encoded[0], tokens + encoded[1], done + window.text_bytes
            progress(done, total)
        if not documents:
            raise _no_text(sum(source.rows for source in self.sources))
        self.seconds, self.encoded_bytes = workers * (time.perf_counter() - begin), total
        return self.result(tokens, documents, total, "tokenized", checked=documents)

    def _measure(self, window: Window) -> _Window:
        documents = [text for text in read_window(window).texts if text is not None]
        tokens = sum(map(self._count, documents))
        size = sum(len(text.encode()) for text in documents)
        # Page headers weigh a few per cent in small groups and nothing in one that is larger than a window.
        footer_bytes = window.text_bytes if window.rows == window.group.rows else size
        return _Window(window.rows, len(documents), size, footer_bytes, tokens)

    def _count(self, text: str) -> int:
        begin = time.perf_counter()
        tokens = len(self.tokenizer.encode(text)) + 1  # end-of-text
        self.seconds += time.perf_counter() - begin
        self.encoded_bytes += len(text)  # characters: near enough for a pace
        return tokens


def _lengths(task: EncodeTask) -> tuple[int, int]:
    parts = encode_window(task).parts
    return sum(len(parts[split].lengths) for split in SPLITS), sum(len(parts[split].tokens) for split in SPLITS)


def _sum(measured: list[_Window]) -> _Window:
    total = _Window(*(sum(column) for column in zip(*measured, strict=True)))
    if not total.documents:
        raise _no_text(total.rows)
    return total


def _no_text(rows: int) -> FwplanError:
    return FwplanError(
        f"the {rows} rows that were read hold no text: each is null or empty",
        hint='is it the right file? FineWeb keeps its text in the column "text"',
    )


def _ratio(measured: list[_Window], share: float) -> tuple[float, float]:
    """Return (tokens per byte, its standard error), from windows that are a `share` of a finite population.

    That of a ratio of two sums: sqrt((1 - share) / n * sum((t_i - r * b_i)^2) / (n - 1)) / mean(b).
    """
    total, n = _sum(measured), len(measured)
    ratio = total.tokens / total.footer_bytes
    residuals = np.array([window.tokens - ratio * window.footer_bytes for window in measured])
    error = sqrt((1 - share) / n * float(residuals @ residuals) / (n - 1)) / (total.footer_bytes / n)
    return ratio, error
