"""A parquet file in FineWeb's shape from the text on this machine: prose, then source code, in documents of about 3 kB.

Every text is there once, so a tokenizer's cache of words meets what it has not seen, as it does on a crawl.
"""

from __future__ import annotations

import gettext
import random
import sysconfig
from itertools import islice, zip_longest
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq

from fwplan.data.corpus import SCHEMA
from fwplan.data.corpus_text import documents

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_DOCUMENT = 3000  # bytes: FineWeb's mean is 2,960 (0.336 tokens a byte of parquet, 697 tokens a document)
_BLOCK = 1000
_SENTENCE = 40  # bytes
_LOCALES = Path("/usr/share/locale")


def write_text(path: Path, max_bytes: int, *, group_rows: int = 1000, languages: bool = False) -> int:
    """Return the bytes of text written to `path`, at most about max_bytes: of English and code, or of many languages.

    Of languages each gives the same number of documents, as far as it has them.
    """
    texts, size = [], 0
    for text in _in_turn(translations().values()) if languages else _texts():
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


def _in_turn(found: Iterable[list[str]]) -> Iterator[str]:
    """Yield the first of each list, then the second of each that has one, and so on."""
    for row in zip_longest(*found):
        yield from (text for text in row if text is not None)


def _texts() -> Iterator[str]:
    yield from _english()
    yield from _code()


def source_texts(most: int = 1000) -> dict[str, list[str]]:
    """Return some documents of English prose and of Python's source code."""
    return {"English": list(islice(_english(), most)), "Python": list(islice(_code(), most))}


def _english() -> Iterator[str]:
    for document in documents():
        yield from _cut(document.text)


def _code() -> Iterator[str]:
    seen = set()
    for name in ("stdlib", "purelib", "platlib"):
        for path in sorted(Path(sysconfig.get_path(name)).rglob("*.py")):
            text = path.read_text(encoding="utf-8", errors="replace")
            if path.resolve() not in seen and len(text) > _BLOCK:
                seen.add(path.resolve())
                yield from _cut(text)


def translations() -> dict[str, list[str]]:
    """Return documents of about _DOCUMENT bytes by language: what this machine's message catalogues say in it."""
    messages: dict[str, dict[str, None]] = {}
    for folder in (_LOCALES, *(Path(sysconfig.get_path(name)) for name in ("purelib", "platlib"))):
        for path in sorted(folder.rglob("LC_MESSAGES/*.mo")):
            messages.setdefault(path.parts[-3].split("_")[0].split("@")[0], {}).update(dict.fromkeys(_messages(path)))
    return {language: list(_cut("\n".join(found))) for language, found in sorted(messages.items())}


def _messages(path: Path) -> list[str]:
    """Return a catalogue's messages of more than a few words; none where it cannot be read."""
    try:
        with path.open("rb") as file:
            catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]  # noqa: SLF001
    except (OSError, ValueError, LookupError):  # some catalogues are not as gettext expects
        return []
    return [text for text in catalogue.values() if isinstance(text, str) and len(text.encode()) > _SENTENCE]


def _cut(text: str) -> Iterator[str]:
    """Yield a text in parts of about _DOCUMENT bytes that end at a line."""
    part: list[str] = []
    size = 0
    for line in text.splitlines(keepends=True):
        part.append(line)
        size += len(line.encode())
        if size >= _DOCUMENT:
            yield "".join(part)
            part, size = [], 0
    if size > _BLOCK:
        yield "".join(part)
