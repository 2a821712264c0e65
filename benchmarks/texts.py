"""A parquet file in FineWeb's shape from the text on this machine: prose, then source code, in documents of about 3 kB.

Every text is there once, so a tokenizer's cache of words meets what it has not seen, as it does on a crawl.
"""

from __future__ import annotations

import random
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fwplan.data.corpus import SCHEMA
from fwplan.data.corpus_text import documents

if TYPE_CHECKING:
    from collections.abc import Iterator

_DOCUMENT = 3000  # bytes: FineWeb's mean is 2,960 (0.336 tokens a byte of parquet, 697 tokens a document)
_BLOCK = 1000


def write_text(path: Path, max_bytes: int, *, group_rows: int = 1000) -> int:
    """Return the bytes of text written to `path`, at most about max_bytes."""
    texts, size = [], 0
    for text in _texts():
        texts.append(text)
        size += len(text.encode())
        if size >= max_bytes:
            break
    random.Random(0).shuffle(texts)
    with pq.ParquetWriter(path, SCHEMA, compression="snappy") as out:
        for start in range(0, len(texts), group_rows):
            rows = [{"text": text, "id": f"{start + n}"} for n, text in enumerate(texts[start : start + group_rows])]
            out.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), row_group_size=group_rows)
    return size


def _texts() -> Iterator[str]:
    for document in documents():
        yield from _cut(document.text)
    seen = set()
    for name in ("stdlib", "purelib", "platlib"):
        for path in sorted(Path(sysconfig.get_path(name)).rglob("*.py")):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.resolve() not in seen and len(text) > _BLOCK:
                seen.add(path.resolve())
                yield from _cut(text)


def _cut(text: str) -> Iterator[str]:
    """Yield a text in parts of about _DOCUMENT bytes that end at a line."""
    part: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        part.append(line)
        size += len(line)
        if size >= _DOCUMENT:
            yield "".join(part)
            part, size = [], 0
    if size > _BLOCK:
        yield "".join(part)
