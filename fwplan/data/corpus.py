"""A small parquet in FineWeb's shape, made from the text on this machine: real English without a download.

Run `python -m fwplan.data.corpus OUT.parquet`.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fwplan.data.corpus_text import Document, documents
from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import encode
from fwplan.errors import FwplanError
from fwplan.files import replace_atomically

if TYPE_CHECKING:
    import os

DEFAULT_BYTES = 8_000_000
_GROUP_ROWS = 250  # FineWeb has 1,000; fewer, so that a small file still has several row groups
_SEED = 0

# FineWeb's columns. What this text does not have (a crawl, a date, a language score) stays null.
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("text", "id", "dump", "url", "date", "file_path", "language")),
        ("language_score", pa.float64()),
        ("token_count", pa.int64()),
    ]
)


def build_corpus(path: str | os.PathLike[str], *, max_bytes: int = DEFAULT_BYTES) -> int:
    """Return the number of documents written to `path`: at most `max_bytes` of text, in a fixed shuffled order.

    Raises:
        FwplanError: no text fits in max_bytes, or the file cannot be written.
    """
    chosen = _take(max_bytes)
    if not chosen:
        raise FwplanError(f"no document fits in max_bytes {max_bytes}", hint="allow at least 100000")
    random.Random(_SEED).shuffle(chosen)  # noqa: S311 (mixes the sources; no secret)
    table = pa.Table.from_pylist([_row(document) for document in chosen], schema=SCHEMA)
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        replace_atomically(
            target, lambda file: pq.write_table(table, file, row_group_size=_GROUP_ROWS, compression="snappy")
        )
    except OSError as error:
        raise FwplanError(
            f"cannot write {str(target)!r}: {error.strerror or error}", where=str(target), hint="choose another place"
        ) from error
    return len(chosen)


def _take(max_bytes: int) -> list[Document]:
    """Return the first documents of this machine that fit in max_bytes of UTF-8."""
    chosen, size = [], 0
    for document in documents():
        size += len(document.text.encode())
        if size > max_bytes:
            break
        chosen.append(document)
    return chosen


def _row(document: Document) -> dict[str, object]:
    return {
        "text": document.text,
        "url": document.path.absolute().as_uri(),
        "file_path": str(document.path),
        "token_count": len(encode(document.text)),
    }


def main(arguments: list[str] | None = None) -> int:
    """Return the exit code after writing a corpus and printing what it holds."""
    parser = argparse.ArgumentParser(prog="python -m fwplan.data.corpus", description=__doc__)
    parser.add_argument("out", help="the parquet file to write")
    parser.add_argument("--max-bytes", type=int, default=DEFAULT_BYTES, help="of text (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        build_corpus(options.out, max_bytes=options.max_bytes)
        count = count_tokens(options.out)
    except FwplanError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    sys.stdout.write(
        f"{options.out}: {count.documents:,} documents, {count.bytes:,} bytes, {count.tokens:,} tokens "
        "with end-of-text\n"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
