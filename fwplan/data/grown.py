"""A finished set with files added behind its own: its tokens go back into staging, and only the new are encoded."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

from fwplan.data.formats import SPLITS, Split
from fwplan.data.interrupt import held_interrupts
from fwplan.data.parquet import windows
from fwplan.data.resume import Recipe, placeless
from fwplan.data.shards import ENDS, TokenShards, open_shards
from fwplan.data.sidecar import read_meta
from fwplan.data.staging import writing
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fwplan.data.parquet import Source
    from fwplan.data.staging import Staging

_CHUNK = 2**22  # bytes: whole tokens and whole ends


def take_back(
    staging: Staging, out: Path, recipe: Recipe, sources: list[Source], threshold: int
) -> tuple[dict[str, Any] | None, str | None]:
    """Return (the state recorded in staging for what `out` holds, or None to start again; what the user should know).

    What is finished is copied, so that it stays whole until more is published in its place. The record comes last: a
    process killed before leaves none, and the next begins to copy anew.

    Args:
        staging: where it goes; what is there is dropped.
        out: the folder of the finished set.
        recipe: what is asked for now, without where its sources lie.
        sources: the recipe's, in order.
        threshold: that a preparation begins with.

    Raises:
        FwplanError: the disk is full or cannot be written; nothing is left in staging.
    """
    try:
        meta = read_meta(out)
        before = placeless({key: meta.get(key) for key in recipe})
    except (FwplanError, AttributeError):
        return None, None  # nothing there that this fwplan can read
    if any(before[key] != recipe[key] for key in recipe if key != "sources"):
        return None, None  # another set, to be replaced
    try:
        why = _why_not(meta, before["sources"], recipe, threshold)
        if why is None:
            tally = _tally(meta, sources[: len(before["sources"])])
            _copy(staging, _opened(out), {"recipe": before, "threshold": threshold, "tally": tally})
            total = sum(source.rows for source in sources)
            return staging.record(), f"going on after the {tally['rows']:,} of {total:,} rows that are finished"
    except _UnusableError as error:
        why = str(error)
    except (TypeError, LookupError, AttributeError):
        why = "its meta.json does not add up"
    return None, f"what was finished cannot be added to, for {why}: starting again"


class _UnusableError(Exception):
    """A finished set is not what its meta.json says."""


def _why_not(meta: dict[str, Any], before: list[Any], recipe: Recipe, threshold: int) -> str | None:
    """Return why no finished set of the same settings can be gone on with, None if it can by what meta.json says."""
    for number, source in enumerate(before):
        if recipe["sources"][number : number + 1] != [source]:
            return f"file {number + 1} is {'another now' if number < len(recipe['sources']) else 'gone'}"
    if recipe["dedup"]:
        return "the digests that tell duplicates were not kept"
    if "threshold" not in meta or any("ends_sha256" not in meta["splits"][split] for split in SPLITS):
        return "an earlier fwplan recorded too little of it"
    empty = any(not meta["splits"][split]["documents"] for split in SPLITS)
    if meta["threshold"] != threshold or (threshold and empty):  # as all the documents of then would have it
        return "there were too few documents in it to divide"
    return None


def _opened(out: Path) -> TokenShards:
    try:
        return open_shards(out)
    except FwplanError as error:
        raise _UnusableError(error.message) from error


def _tally(meta: dict[str, Any], old: list[Source]) -> dict[str, int]:
    """Return where the rows of a finished set went, as its record said when it was being made.

    But for the lowest and highest hash: they only matter where a split is empty.
    """
    done = windows(old)
    left_out = {reason: meta["left_out"][reason] for reason in ("empty", "low_score", "duplicates")}
    documents = sum(meta["splits"][split]["documents"] for split in SPLITS)
    rows = sum(window.rows for window in done)
    if not documents + sum(left_out.values()) == meta["rows"] == rows:
        raise _UnusableError("its meta.json does not add up")
    return {"windows": len(done), "bytes": sum(window.text_bytes for window in done), "rows": rows, **left_out}


def _copy(staging: Staging, shards: TokenShards, state: dict[str, Any]) -> None:
    """Put a finished set into staging and record it; nothing is left there unless all of it is as meta.json says."""
    staging.open(None)
    try:
        with held_interrupts() as check:
            for split in SPLITS:
                _copy_split(staging, shards, split, check)
        staging.mark(state)
        staging.commit(now=True)
    except BaseException:
        staging.discard()
        raise
    staging.close()


def _copy_split(staging: Staging, shards: TokenShards, split: Split, check: Callable[[], None]) -> None:
    stated, files = (shards.meta or {})["splits"][split], staging.splits[split]
    none, ends = np.empty(0, shards.dtype), shards.directory / ENDS / f"{split}.i64"
    for piece in _verified(ends, 0, 8 * stated["documents"], stated["ends_sha256"]):
        check()
        with writing(staging.folder):  # no tokens are in yet, so lengths that add up to these ends are those
            files.append(none, np.diff(np.frombuffer(piece, "<i8"), prepend=0))
    for file, entry in zip(shards.files[split], stated["files"], strict=True):
        for piece in _verified(file.path, file.offset, file.bytes, entry["sha256"]):
            check()
            with writing(staging.folder):
                files.append(np.frombuffer(piece, file.dtype), np.empty(0, np.int64))
    if (files.tokens, files.documents) != (stated["tokens"], stated["documents"]):
        raise _UnusableError("its meta.json does not add up")


def _verified(path: Path, offset: int, size: int, sha256: str) -> Iterator[bytes]:
    """Yield a file from `offset` on, in pieces; raise _UnusableError, at its end at the latest, if it is another."""
    try:
        if path.stat().st_size != size:
            raise _UnusableError(f"{path.name} is not what was written")
        with path.open("rb") as file:
            digest = hashlib.sha256(file.read(offset))
            while piece := file.read(_CHUNK):
                digest.update(piece)
                yield piece
    except OSError as error:
        raise _UnusableError(f"{path.name} cannot be read ({error.strerror or error})") from error
    if digest.hexdigest() != sha256:
        raise _UnusableError(f"{path.name} is not what was written")
