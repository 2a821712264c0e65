"""From the staging folder to files under their own names: all of them or, until meta.json is there, none.

What is to happen is written down first, in publish.json; each of its steps can be done twice. A process killed at any
moment is followed by one that finds publish.json and carries it out.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zlib
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from fwplan.data.formats import SPLITS, Split, file_name, find_token_files, header
from fwplan.data.interrupt import held_interrupts
from fwplan.data.shards import ENDS
from fwplan.data.sidecar import META
from fwplan.data.staging import PARTIAL, open_at, sync, writing
from fwplan.errors import FwplanError
from fwplan.files import replace_atomically, sync_directory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fwplan.data.staging import SplitFiles, Staging

_ORDER = "publish.json"
_CHUNK = 2**22


class _Move(NamedTuple):
    staged: str
    bytes: int  # to keep of it
    name: str


def publish(staging: Staging, out: Path, meta: dict[str, Any]) -> None:
    """Put what is staged in place of what is in `out`, with `meta` and what each split holds as meta.json.

    Raises:
        FwplanError: the disk is full or cannot be written, and all that is staged is kept; or what is staged is not
            what was encoded, and nothing is.
        KeyboardInterrupt: Ctrl-C before the order is written; all that is staged is kept.
    """
    with writing(out), held_interrupts() as check:
        splits, moves = {}, []
        for split in SPLITS:
            files = staging.splits[split]
            splits[split], moved = _finish(staging, files, split, dataset_name(out), check)
            moves += moved
        staging.close()
        digest = hashlib.sha256("".join(f["sha256"] for s in SPLITS for f in splits[s]["files"]).encode()).hexdigest()
        order = {"meta": meta | {"splits": splits, "sha256": digest}, "moves": moves, "remove": _old_files(out)}
        replace_atomically(out / PARTIAL / _ORDER, lambda file: file.write(json.dumps(order).encode()))
    finish_publishing(out)


def finish_publishing(out: Path) -> None:
    """Carry out publish.json where there is one; a killed process may have left it."""
    if not is_publishing(out):
        return
    with writing(out):
        order = json.loads((out / PARTIAL / _ORDER).read_text(encoding="utf-8"))
        (out / META).unlink(missing_ok=True)
        for name in order["remove"]:
            if not any(name == move[2] for move in order["moves"]):
                (out / name).unlink(missing_ok=True)
        (out / ENDS).mkdir(exist_ok=True)
        for move in order["moves"]:
            _carry_out(out, _Move(*move))
        sync_directory(out)
        text = json.dumps(order["meta"], indent=2) + "\n"
        replace_atomically(out / META, lambda file: file.write(text.encode()))
        for path in (out / PARTIAL).iterdir():
            if path.name != _ORDER:  # it goes last: without it nobody would clear up the rest
                path.unlink()
        shutil.rmtree(out / PARTIAL, ignore_errors=True)


def is_publishing(out: Path) -> bool:
    """Return whether there is a publish.json to carry out, be it only to clear up."""
    return (out / PARTIAL / _ORDER).exists()


def refuse_foreign(out: Path) -> None:
    """Raise where the output folder holds tokens that fwplan did not write: they are not overwritten."""
    if (out / META).exists() or is_publishing(out) or not out.is_dir():
        return
    found = find_token_files(out)
    first = found[1]["train"][0] if found else next((p for p in (out / "val.bin",) if p.exists()), None)
    if first is not None:
        raise FwplanError(
            f"{first.name} in {str(out)!r} was not written by fwplan, so it is not overwritten",
            where=str(first),
            hint="choose another output folder",
        )


def dataset_name(out: Path) -> str:
    """Return what a data set's shards are called: its folder's name, where that cannot be taken for a split's."""
    name = re.sub(r"[^A-Za-z0-9.]+", "-", out.resolve().name).strip("-.")
    return name if name and not re.search("train|val", name) else "tokens"


def _carry_out(out: Path, move: _Move) -> None:
    staged = out / PARTIAL / move.staged
    if not staged.exists():  # done before
        return
    if staged.stat().st_size > move.bytes:
        with open_at(staged, move.bytes) as file:
            sync(file)
    staged.replace(out / move.name)


def _finish(
    staging: Staging, files: SplitFiles, split: Split, name: str, check: Callable[[], None]
) -> tuple[dict[str, Any], list[_Move]]:
    """Return what meta.json says of a split, and what is to be moved, after writing the headers."""
    shards = [(files.path(i), min(files.limit, files.tokens - i * files.limit)) for i in range(files.shards)]
    if staging.kind == "nanogpt" and not shards:  # its readers expect both files
        shards = [(files.path(0), 0)]
    if len(shards) > 1:
        shards[-2:] = _balanced(files, *shards[-2:])
    entries, moves, crc32 = [], [], 0
    for number, (path, tokens) in enumerate(shards):
        final = file_name(staging.kind, split, number, name)
        start = header(staging.kind, tokens, files.dtype)
        with path.open("r+b") as file:
            file.write(start)
            sync(file)
            sha256, crc32 = _read(file, tokens * files.dtype.itemsize, start, crc32, check)
        entries.append({"name": final, "tokens": tokens, "sha256": sha256})
        moves.append(_Move(path.name, len(start) + tokens * files.dtype.itemsize, final))
    moves.append(_Move(f"{split}.ends", 8 * files.documents, f"{ENDS}/{split}.i64"))
    with (files.folder / moves[-1].staged).open("rb") as file:
        ends_sha256, ends_crc32 = _read(file, moves[-1].bytes, b"", 0, check)
    if (crc32, ends_crc32) != (files.tokens_crc32, files.ends_crc32):
        staging.discard()
        raise FwplanError(
            f"what {str(staging.folder)!r} holds of {split} is not what was written there",
            where=str(staging.folder),
            hint="the same command starts again; if this comes back, look at the disk",
        )
    found = {"tokens": files.tokens, "documents": files.documents, "files": entries, "ends_sha256": ends_sha256}
    return found, moves


def _balanced(files: SplitFiles, before: tuple[Path, int], last: tuple[Path, int]) -> list[tuple[Path, int]]:
    """Return the last two shards, the last no smaller than half: trainers refuse a shard shorter than their batch.

    Nothing is taken from the staged files: a process killed here starts again from them.
    """
    if 2 * last[1] >= files.limit:
        return [before, last]
    share = (before[1] + last[1]) // 2
    moved = share - last[1]
    target = files.folder / f"{files.split}.last"
    with target.open("wb") as out:
        out.write(bytes(files.offset))
        for (path, tokens), count in ((before, moved), (last, last[1])):
            with path.open("rb") as file:
                file.seek(files.offset + (tokens - count) * files.dtype.itemsize)
                out.writelines(_pieces(file, count * files.dtype.itemsize))
        sync(out)
    return [(before[0], before[1] - moved), (target, share)]


def _pieces(file: IO[bytes], size: int) -> Iterator[bytes]:
    """Yield the next `size` bytes of a file."""
    while size and (data := file.read(min(size, _CHUNK))):
        size -= len(data)
        yield data


def _read(file: IO[bytes], size: int, start: bytes, crc32: int, check: Callable[[], None]) -> tuple[str, int]:
    """Return (SHA-256 of the header and `size` bytes after it, CRC-32 of those bytes, begun with `crc32`)."""
    digest = hashlib.sha256(start)
    file.seek(len(start))
    for piece in _pieces(file, size):
        check()
        digest.update(piece)
        crc32 = zlib.crc32(piece, crc32)
    return digest.hexdigest(), crc32


def _old_files(out: Path) -> list[str]:
    """Return the names of the token files that the present meta.json lists, whatever wrote the rest of it."""
    try:
        splits = json.loads((out / META).read_text(encoding="utf-8"))["splits"]
        names = [file["name"] for split in splits.values() for file in split["files"]]
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return []
    return [name for name in names if isinstance(name, str) and os.path.basename(name) == name]  # noqa: PTH119
