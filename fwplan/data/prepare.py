"""From parquet to token shards: every document once, validation by hash, the same bytes for any number of workers."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fwplan.data import tokenizer
from fwplan.data.count import declared_tokens
from fwplan.data.encode import HASH_SPAN, EncodedGroup, EncodeTask, encode_group
from fwplan.data.parquet import RowGroup, Source, open_sources
from fwplan.data.pool import cpus, ordered_map
from fwplan.data.shards import DTYPE, SCHEMA_VERSION, SPLITS, TokenShards, open_shards, read_meta
from fwplan.data.writer import ShardWriter
from fwplan.errors import FwplanError
from fwplan.units import gib

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable

    from fwplan.data.shards import Split

_BYTES_PER_WORKER = 2**24  # about a second of tokenizing, which is what starting one more process costs
_MOST_WORKERS = 61  # Windows waits on no more


@dataclass
class _Tally:
    """What went into the shards so far."""

    documents: dict[Split, int] = field(default_factory=lambda: dict.fromkeys(SPLITS, 0))
    skipped: int = 0
    lowest: int = HASH_SPAN
    highest: int = -1

    def add(self, encoded: EncodedGroup) -> None:
        for split, count in encoded.documents.items():
            self.documents[split] += count
        self.skipped += encoded.skipped
        self.lowest, self.highest = min(self.lowest, encoded.lowest), max(self.highest, encoded.highest)


def prepare(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    out_dir: str | os.PathLike[str],
    *,
    val_fraction: float = 0.01,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> TokenShards:
    """Return the token shards made from parquet files; shards already made so are returned as they are.

    Args:
        paths: a file, a folder, a glob, or a list of those.
        out_dir: where train.bin, val.bin and meta.json go.
        val_fraction: the share of documents kept for validation; above 0, at least one if there are two.
        workers: processes; None: one per CPU, fewer for little text; 1: this process.
        progress: called after each row group with (bytes of text done, bytes of text in all).

    Raises:
        FwplanError: unusable input, a full disk, a foreign file in the way, or a worker that died.
    """
    if not 0 <= val_fraction < 1:
        raise FwplanError(
            f"val_fraction must be at least 0 and below 1, not {val_fraction}", hint="a hundredth is customary: 0.01"
        )
    sources, folder = open_sources(paths), Path(out_dir).expanduser()
    groups = [group for source in sources for group in source.groups]
    count = _worker_count(workers, groups)
    recipe = _recipe(sources, val_fraction)
    ready = _ready(folder, recipe)
    if ready is not None:
        return ready
    declared = declared_tokens(sources)
    with ShardWriter(folder) as writer:
        _check_room(folder, 2 * declared[0] if declared else _guess_bytes(groups))
        tally = _fill(writer, groups, round(val_fraction * HASH_SPAN), count, progress or _silent)
        extra = {"skipped_rows": tally.skipped, "declared_tokens": declared and declared[0]}
        writer.publish(recipe | extra, tally.documents)
    return open_shards(folder)


def _recipe(sources: list[Source], val_fraction: float) -> dict[str, Any]:
    """Return what decides the shards' content, as meta.json keeps it."""
    return {
        "schema_version": SCHEMA_VERSION,
        "dtype": DTYPE.name,
        "tokenizer": {
            "name": tokenizer.NAME,
            "vocab_size": tokenizer.VOCAB,
            "end_of_text": tokenizer.END_OF_TEXT,
            "vocab_sha256": tokenizer.VOCAB_SHA256,
        },
        "val_fraction": val_fraction,
        "sources": [
            {"path": str(s.path), "size": s.size, "rows": s.rows, "footer_sha256": s.footer_sha256} for s in sources
        ],
    }


def _ready(folder: Path, recipe: dict[str, Any]) -> TokenShards | None:
    """Return the shards that are there if they are whole and came from this recipe, else None."""
    try:
        meta = read_meta(folder)
        return open_shards(folder) if all(meta.get(key) == value for key, value in recipe.items()) else None
    except FwplanError:
        return None


def _fill(
    writer: ShardWriter, groups: list[RowGroup], threshold: int, workers: int, progress: Callable[[int, int], None]
) -> _Tally:
    """Return what was written. Where chance left one split empty, all is done again with a threshold that does not."""
    tally = _encode(writer, groups, threshold, workers, progress)
    if not sum(tally.documents.values()):
        raise FwplanError(
            f"nothing to train on: each of {tally.skipped} rows is null or empty",
            where=str(groups[0].path),
            hint="is it the right file?",
        )
    fair = _fair_threshold(tally, threshold)
    if fair != threshold:  # happens for a handful of documents only, so the second pass is short
        writer.restart()
        tally = _encode(writer, groups, fair, workers, progress)
    return tally


def _encode(
    writer: ShardWriter, groups: list[RowGroup], threshold: int, workers: int, progress: Callable[[int, int], None]
) -> _Tally:
    tally, done, total = _Tally(), 0, sum(group.text_bytes for group in groups)
    results = ordered_map(encode_group, [EncodeTask(group, threshold) for group in groups], workers)
    for group, encoded in zip(groups, results, strict=True):
        writer.append(encoded)
        tally.add(encoded)
        done += group.text_bytes
        progress(done, total)
    return tally


def _fair_threshold(tally: _Tally, threshold: int) -> int:
    """Return a threshold that gives both splits a document, and train the only one; identical texts stay together.

    A document is for validation if its hash is below the threshold.
    """
    if not tally.documents["train"]:
        return tally.highest
    if not tally.documents["val"] and threshold and tally.lowest < tally.highest:
        return tally.lowest + 1
    return threshold


def _worker_count(workers: int | None, groups: list[RowGroup]) -> int:
    if workers is not None and workers < 1:
        raise FwplanError(f"workers must be at least 1, not {workers}", hint="one per processor is a good choice")
    enough = 1 + sum(group.text_bytes for group in groups) // _BYTES_PER_WORKER
    return min(workers or min(cpus(), enough), len(groups), _MOST_WORKERS)


def _guess_bytes(groups: list[RowGroup]) -> int:
    """Return bytes of disk for undeclared text: half a token per byte, above any Latin script (English: 0.25 to 0.34).

    Other scripts need up to twice that; a disk that fills nevertheless is caught when it does.
    """
    return sum(group.text_bytes for group in groups)


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise FwplanError(
            f"not enough disk in {str(folder)!r}: needs {gib(needed)} ({needed:,} bytes), "
            f"{gib(free)} ({free:,} bytes) free",
            where=str(folder),
            hint="free some space or choose another output folder",
        )


def _silent(_done: int, _total: int) -> None:
    """Report nothing."""
