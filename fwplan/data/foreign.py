"""What a file is that is not the parquet it was taken for, and what to do with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_MAGIC = b"PAR1"
_HEAD = 1024  # bytes that are looked at
_BEGINNINGS = {  # longest first where one begins as another
    b"version https://git-lfs": ("a Git LFS pointer, not the file itself", "fetch the file: git lfs pull"),
    b"PARE": ("encrypted parquet", "write it without encryption first"),
    b"ARROW1": ("an Arrow file", "write it as parquet first: pyarrow.feather.read_table, pyarrow.parquet.write_table"),
    b"\xff\xff\xff\xff": ("an Arrow stream", "write it as parquet first: load_from_disk(...).to_parquet(...)"),
    b"\x1f\x8b": ("a gzip file", ""),
    b"\x28\xb5\x2f\xfd": ("a zstd file", ""),
    b"<": ("a web page or XML", "download the file itself"),
    b"{": ("JSON", ""),
    b"[": ("JSON", ""),
}
_JSON = "write it as parquet first: pyarrow.json.read_json, then pyarrow.parquet.write_table"
_TEXT = 'write it as parquet first: one row a document, in a column "text", by pyarrow.parquet.write_table'
_HINTS = {".json": _JSON, ".jsonl": _JSON, ".ndjson": _JSON, ".csv": _JSON.replace("json", "csv"), ".txt": _TEXT}
_COMPRESSED = {".gz", ".zst", ".bz2", ".xz"}


def what_it_is(path: Path) -> tuple[str, str] | None:
    """Return (what a file is, what to do with it), by how it begins; None: parquet, a part of it, or nobody's guess."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if _MAGIC.startswith(head[:4]):
        return None
    said, hint = next((found for start, found in _BEGINNINGS.items() if head.lstrip().startswith(start)), ("", ""))
    if not said and not _is_text(head):
        return None
    if said == "JSON" and path.suffix != ".json":
        said = "JSON lines"
    return said or "text", hint or _hint(path, said)


def hint_for(paths: list[Path]) -> str | None:
    """Return what to do with the text in a folder that holds no parquet; None where none of its files is known."""
    if any(path.suffix == ".arrow" for path in paths):  # what Dataset.save_to_disk leaves
        return "write it as parquet first: load_from_disk(...).to_parquet(...)"
    known = [_HINTS[_kind(path)] for path in paths if _kind(path) in _HINTS]
    return known[0] if known else None


def _hint(path: Path, said: str) -> str:
    return _HINTS.get(_kind(path)) or (_JSON if said.startswith("JSON") else _TEXT)


def _kind(path: Path) -> str:
    """Return a file's suffix, without that of its compression: pyarrow reads through that by itself."""
    return path.with_suffix("").suffix if path.suffix in _COMPRESSED else path.suffix


def _is_text(head: bytes) -> bool:
    """Return whether bytes are UTF-8 but for a character that is cut off at their end, and hold no NUL."""
    try:
        head[: max(len(head) - 3, 0)].decode()
    except UnicodeDecodeError as error:
        return error.end == len(head) - 3 and b"\0" not in head and error.reason == "unexpected end of data"
    return bool(head) and b"\0" not in head
