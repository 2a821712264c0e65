"""From parquet to token shards: every document once, validation by hash, the same bytes for any number of workers."""

from __future__ import annotations

import hashlib
import json
import shutil
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from fwplan.data import fast as fast_module
from fwplan.data.declared import declared_tokens
from fwplan.data.dedup import SeenTexts
from fwplan.data.encode import HASH_SPAN, Encoded, EncodeTask, Part, encode_window
from fwplan.data.enough import require_sequences
from fwplan.data.formats import FORMATS, SPLITS, check_shard_tokens, end_of_text_first
from fwplan.data.grown import take_back
from fwplan.data.interrupt import held_interrupts
from fwplan.data.parquet import Source, Window, open_sources, windows
from fwplan.data.pool import cpus, ordered_map
from fwplan.data.publish import finish_publishing, is_publishing, publish, refuse_foreign
from fwplan.data.resume import placeless, state_to_go_on_from
from fwplan.data.rows import forget_position, read_window
from fwplan.data.shards import READING, TokenShards, open_shards
from fwplan.data.sidecar import SCHEMA_VERSION, read_meta
from fwplan.data.staging import Staging, writing
from fwplan.data.text_column import TEXT
from fwplan.data.tokenizer import DEFAULT, Tokenizer, load_tokenizer
from fwplan.errors import FwplanError
from fwplan.files import user_path
from fwplan.locks import LOCK, locked
from fwplan.units import gib

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    import numpy as np

    from fwplan.data.formats import Format

_BYTES_PER_WORKER = 2**24  # about a second of tokenizing, which is what starting one more process costs
_MOST_WORKERS = 61  # Windows waits on no more
_SAMPLE_WINDOWS, _SAMPLE_DOCUMENTS, _SAMPLE_CHARS = 8, 16, 2**19  # for gigatoken's check: 0.05 s of tiktoken


@dataclass
class Tally:
    """Where the rows went so far; they add up."""

    windows: int = 0
    bytes: int = 0  # of text, by the footers
    rows: int = 0
    empty: int = 0  # null or empty text
    low_score: int = 0
    duplicates: int = 0
    lowest: int = HASH_SPAN  # text hashes seen
    highest: int = -1

    def add(self, window: Window, encoded: Encoded, duplicates: int) -> None:
        """Count a window in."""
        self.windows += 1
        self.bytes += window.text_bytes
        self.rows += window.rows
        self.empty += encoded.empty
        self.low_score += encoded.low_score
        self.duplicates += duplicates
        self.lowest, self.highest = min(self.lowest, encoded.lowest), max(self.highest, encoded.highest)

    @property
    def left_out(self) -> int:
        """Rows that are no document of the result."""
        return self.empty + self.low_score + self.duplicates


@dataclass(frozen=True)
class _Job:
    """What was asked for, checked."""

    sources: list[Source]
    windows: list[Window]
    folder: Path
    recipe: dict[str, Any]
    tokenizer: Tokenizer
    format: Format
    shard_tokens: int
    val_fraction: float
    min_score: float | None
    dedup: bool
    workers: int
    sequence_length: int | None

    def tasks(self, found: list[Window], threshold: int, *, fast: bool) -> Iterator[EncodeTask]:
        """Yield what a worker is sent for each of these windows."""
        first = end_of_text_first(self.format)
        for window in found:
            yield EncodeTask(window, threshold, self.tokenizer.name, fast, first, self.min_score, self.dedup)


def prepare(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    val_fraction: float = 0.01,
    workers: int | None = None,
    tokenizer: str = DEFAULT,
    format: Format = "nanogpt",  # noqa: A002 (the option's name)
    shard_tokens: int | None = None,
    min_language_score: float | None = None,
    dedup: bool = False,
    fast: bool = True,
    text_column: str = TEXT,
    sequence_length: int | None = None,
    progress: Callable[[int, int], None] | None = None,
    note: Callable[[str], None] | None = None,
) -> TokenShards:
    """Return the token shards made from parquet files; shards already made so are returned as they are.

    An interrupted preparation, killed or out of disk, goes on where it stopped when it is asked for again; a finished
    one goes on when files were added behind its own.

    Args:
        paths: a file, a folder, a glob, or a list of those.
        out_dir: where the token files, the index of documents and meta.json go.
        val_fraction: the share of documents kept for validation; above 0, at least one if there are two.
        workers: processes; None: one per CPU, fewer for little text; 1: this process.
        tokenizer: "gpt2", "bytes" or "tiktoken:NAME".
        format: "nanogpt", "llmc" or "npy".
        shard_tokens: most tokens in a file, for llmc and npy; None: 100 million.
        min_language_score: leave out rows whose language_score is lower or missing.
        dedup: leave out documents whose text was there before; takes 16 bytes of memory for each document.
        fast: use gigatoken (fwplan[fast]) where it is installed and agrees with tiktoken on a sample.
        text_column: the column that holds the documents.
        sequence_length: of what will be trained: a split that cannot hold one is refused before all is tokenized.
        progress: called after each window of rows with (bytes of text done, bytes of text in all).
        note: called with what the user should know.

    Raises:
        FwplanError: unusable input, a full disk, a foreign file in the way, or a worker that died.
    """
    job = _check(
        paths,
        out_dir,
        val_fraction,
        workers,
        tokenizer,
        format,
        shard_tokens,
        min_language_score,
        dedup=dedup,
        text_column=text_column,
        sequence_length=sequence_length,
    )
    ready = _ready(job)  # asked for before there is a lock: it may lie where nothing can be written
    if ready is not None:
        return ready
    with _alone(job, "preparing tokens", LOCK, note):
        ready = _ready(job)  # another process may have been waited for
        if ready is not None:
            return ready
        with _alone(job, "replacing its tokens", READING, note):
            finish_publishing(job.folder)
            return _ready(job) or _make(job, progress or _silent, note or _silent, fast=fast)


@contextmanager
def _alone(job: _Job, what: str, name: str, note: Callable[[str], None] | None) -> Iterator[None]:
    """Hold the output folder; who prepares the same in it is waited for."""
    key = hashlib.sha256(json.dumps(placeless(job.recipe), sort_keys=True).encode()).hexdigest()
    with ExitStack() as held:
        with writing(job.folder):
            held.enter_context(locked(job.folder, what, key=key, name=name, note=note))
        yield


def _make(job: _Job, progress: Callable[[int, int], None], tell: Callable[[str], None], *, fast: bool) -> TokenShards:
    refuse_foreign(job.folder)
    with Staging(job.folder, job.format, job.tokenizer.dtype, job.shard_tokens) as staging:
        threshold = round(job.val_fraction * HASH_SPAN)
        state, going_on = state_to_go_on_from(staging, placeless(job.recipe), job.sources, threshold)
        declared = declared_tokens(job.sources) if job.tokenizer.name == DEFAULT else None
        _check_room(job, declared[0] if declared else None, state)
        if job.sequence_length is not None:
            tasks = job.tasks(job.windows, threshold, fast=False)
            require_sequences(tasks, job.tokenizer, job.sequence_length, job.folder)
        use_fast, said = fast_module.choose(job.tokenizer.name, _sample(job.windows)) if fast else (False, None)
        forget_position()
        taken = None
        if state is None:
            state, taken = take_back(staging, job.folder, placeless(job.recipe), job.sources, threshold)
        for text in (said, going_on, taken):
            if text:
                tell(text)
        staging.open(state)
        tally, threshold = _fill(job, staging, state, threshold, progress, fast=use_fast)
        extra = {
            "rows": tally.rows,
            "left_out": {"empty": tally.empty, "low_score": tally.low_score, "duplicates": tally.duplicates},
            "declared_tokens": declared and declared[0],
            "threshold": threshold,  # and ends_sha256 of each split: to go on from this set when files are added
        }
        publish(staging, job.folder, job.recipe | extra)
    return open_shards(job.folder)


def _check(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    val_fraction: float,
    workers: int | None,
    tokenizer: str,
    kind: str,
    shard_tokens: int | None,
    min_score: float | None,
    *,
    dedup: bool,
    text_column: str,
    sequence_length: int | None,
) -> _Job:
    if not 0 <= val_fraction < 1:
        raise FwplanError(
            f"val_fraction must be at least 0 and below 1, not {val_fraction}", hint="a hundredth is customary: 0.01"
        )
    known: dict[str, Format] = {name: name for name in FORMATS}
    if kind not in known:
        raise FwplanError(f"unknown format {kind!r}", hint=f"use {', '.join(FORMATS)}")
    if workers is not None and workers < 1:
        raise FwplanError(f"workers must be at least 1, not {workers}", hint="one per processor is a good choice")
    limit = check_shard_tokens(known[kind], shard_tokens)
    sources = open_sources(paths, text_column)
    if min_score is not None:
        _require_scores(sources)
    found, made_with = windows(sources), load_tokenizer(tokenizer)
    recipe = {
        "schema_version": SCHEMA_VERSION,
        "format": kind,
        "dtype": made_with.dtype.name,
        "shard_tokens": None if kind == "nanogpt" else limit,
        "end_of_text": "before" if end_of_text_first(known[kind]) else "after",
        "tokenizer": made_with.describe(),
        "val_fraction": val_fraction,
        "min_language_score": min_score,
        "dedup": "exact" if dedup else None,
        "text_column": None if text_column == TEXT else text_column,
        "sources": [
            {
                "path": str(source.path),
                "size": source.size,
                "rows": source.rows,
                "row_groups": len(source.groups),
                "footer_sha256": source.footer_sha256,
            }
            for source in sources
        ],
    }
    count, folder = _worker_count(workers, found), user_path(out_dir)
    return _Job(
        sources=sources,
        windows=found,
        folder=folder,
        recipe=recipe,
        tokenizer=made_with,
        format=known[kind],
        shard_tokens=limit,
        val_fraction=val_fraction,
        min_score=min_score,
        dedup=dedup,
        workers=count,
        sequence_length=sequence_length,
    )


def _require_scores(sources: list[Source]) -> None:
    for source in sources:
        if not source.has_language_score:
            raise FwplanError(
                "there is no 'language_score' column to compare with --min-language-score",
                where=str(source.path),
                hint="leave the option out; FineWeb's own files have that column",
            )


def _ready(job: _Job) -> TokenShards | None:
    """Return the shards that are there if they are whole and came from this recipe, else None."""
    if is_publishing(job.folder):
        return None
    try:
        meta = read_meta(job.folder)
        same = {key: meta.get(key) for key in job.recipe if key != "sources"} | {"sources": meta.get("sources")}
        return open_shards(job.folder) if placeless(same) == placeless(job.recipe) else None
    except FwplanError:
        return None


def _fill(
    job: _Job,
    staging: Staging,
    state: dict[str, Any] | None,
    threshold: int,
    progress: Callable[[int, int], None],
    *,
    fast: bool,
) -> tuple[Tally, int]:
    """Return (where the rows went, threshold). Where chance left one split empty, all is done again with another.

    A document is for validation if its hash is below the threshold.
    """
    threshold = state["threshold"] if state else threshold
    tally = _encode(job, staging, Tally(**state["tally"]) if state else Tally(), threshold, progress, fast=fast)
    if tally.left_out == tally.rows:
        staging.discard()
        reasons = "null or empty" if tally.empty == tally.rows else "empty, or below the language score"
        raise FwplanError(
            f"nothing to train on: each of {tally.rows} rows is {reasons}",
            where=str(job.sources[0].path),
            hint="is it the right file?",
        )
    fair = _fair_threshold(staging, tally, threshold)
    if fair != threshold:  # happens for a handful of documents only, so the second pass is short
        staging.close()
        staging.open(None)
        tally = _encode(job, staging, Tally(), fair, progress, fast=fast)
    return tally, fair


def _encode(
    job: _Job, staging: Staging, tally: Tally, threshold: int, progress: Callable[[int, int], None], *, fast: bool
) -> Tally:
    total, left = sum(window.text_bytes for window in job.windows), job.windows[tally.windows :]
    seen = SeenTexts()
    for digests in staging.digests():
        seen.new(digests)
    progress(tally.bytes, total)
    results = ordered_map(encode_window, job.tasks(left, threshold, fast=fast), job.workers)
    try:
        with held_interrupts() as check, closing(results):
            for window, encoded in zip(left, results, strict=True):
                tally.add(window, encoded, _append(staging, encoded, seen))
                staging.mark(_state(job, tally, threshold))
                staging.commit()
                progress(tally.bytes, total)
                check()
    except BaseException:
        _keep_or_discard(staging, tally)
        raise
    staging.commit(now=True)
    _check_rows(job, staging, tally)
    return tally


def _append(staging: Staging, encoded: Encoded, seen: SeenTexts) -> int:
    """Return how many documents were there before, after appending a window's others."""
    duplicates = 0
    for split in SPLITS:
        part = encoded.parts[split]
        if part.digests is not None:
            kept = seen.new(part.digests)
            duplicates += len(kept) - int(kept.sum())
            part = _only(part, kept)
        staging.append(split, part)
    return duplicates


def _state(job: _Job, tally: Tally, threshold: int) -> dict[str, Any]:
    return {"recipe": placeless(job.recipe), "threshold": threshold, "tally": asdict(tally)}


def _keep_or_discard(staging: Staging, tally: Tally) -> None:
    """Record what is whole before an error or Ctrl-C is handed on; leave nothing where nothing was done."""
    if not tally.windows:
        staging.discard()
        return
    with suppress(FwplanError):  # a full disk: the last record stands
        staging.commit(now=True)


def _check_rows(job: _Job, staging: Staging, tally: Tally) -> None:
    """Assert that every row of the sources is a document of one split, or was left out for a reason."""
    documents = sum(files.documents for files in staging.splits.values())
    rows = sum(source.rows for source in job.sources)
    if not documents + tally.left_out == tally.rows == rows:
        raise AssertionError(f"{rows} rows in, {documents} documents out, {tally}")


def _only(part: Part, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> Part:
    """Return a part without the documents that are not kept."""
    if kept.all() or part.digests is None:
        return part
    return Part(part.tokens[kept.repeat(part.lengths)], part.lengths[kept], part.digests[kept])


def _fair_threshold(staging: Staging, tally: Tally, threshold: int) -> int:
    """Return a threshold that gives both splits a document, and train the only one; identical texts stay together."""
    if not staging.splits["train"].documents:
        return tally.highest
    if not staging.splits["val"].documents and threshold and tally.lowest < tally.highest:
        return tally.lowest + 1
    return threshold


def _sample(found: list[Window]) -> Iterator[str]:
    """Yield some documents from evenly spaced places, at most _SAMPLE_CHARS of them."""
    left = _SAMPLE_CHARS
    for n in range(min(_SAMPLE_WINDOWS, len(found))):
        window = found[(2 * n + 1) * len(found) // (2 * min(_SAMPLE_WINDOWS, len(found)))]
        few = Window(window.group, window.first, min(window.rows, _SAMPLE_DOCUMENTS))
        for text in islice((text for text in read_window(few).texts if text), _SAMPLE_DOCUMENTS):
            yield text[:left]
            left -= len(text)
            if left <= 0:
                return


def _worker_count(workers: int | None, found: list[Window]) -> int:
    enough = 1 + sum(window.text_bytes for window in found) // _BYTES_PER_WORKER
    return min(workers or min(cpus(), enough), len(found), _MOST_WORKERS)


def needed_bytes(job_windows: list[Window], tokenizer: Tokenizer, declared: int | None) -> int:
    """Return bytes of disk that tokens and the index of documents take, at most; of English, about twice too many.

    Undeclared text: half a token per byte, above any Latin script (English: 0.25 to 0.34). Other scripts need up to
    twice that; a disk that fills nevertheless is caught when it does.
    """
    rows, text = sum(w.rows for w in job_windows), sum(w.text_bytes for w in job_windows)
    tokens = declared if declared is not None else rows + (text if tokenizer.name == "bytes" else text // 2)
    return tokens * tokenizer.dtype.itemsize + 8 * rows


def _check_room(job: _Job, declared: int | None, state: dict[str, Any] | None) -> None:
    needed = needed_bytes(job.windows, job.tokenizer, declared) + 16 * job.dedup * sum(w.rows for w in job.windows)
    if state:  # some of it is there already
        needed -= sum(c["tokens"] * job.tokenizer.dtype.itemsize + 8 * c["documents"] for c in state["splits"].values())
    place = next(path for path in (job.folder, *job.folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < needed:
        raise FwplanError(
            f"not enough disk in {str(job.folder)!r}: needs {gib(needed)} ({needed:,} bytes), "
            f"{gib(free)} ({free:,} bytes) free",
            where=str(job.folder),
            hint="free some space or choose another output folder",
        )


def _silent(*_: object) -> None:
    """Report nothing."""
