"""English text that every machine with Python already has: documentation, docstrings and licences."""

from __future__ import annotations

import ast
import sysconfig
import warnings
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORTEST, _LONGEST = 200, 100_000  # characters
_MOST_BYTES_PER_CHAR = 1.05  # more: hardly English
_SYSTEM = (Path("/usr/share/common-licenses"), Path("/usr/share/doc"))
_PROSE = {".txt", ".md", ".rst", ""}
_TESTS = {"test", "tests", "idle_test"}


class Document(NamedTuple):
    """A text and the file it is from."""

    text: str
    path: Path


def documents() -> Iterator[Document]:
    """Return documents, each text once, in a fixed order for a given machine; reads files and imports nothing."""
    stdlib = Path(sysconfig.get_path("stdlib"))
    sites = sorted({Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
    found = chain(
        _topics(stdlib / "pydoc_data" / "topics.py"),
        _prose([stdlib / "LICENSE.txt", *_files(_SYSTEM[0], "*")]),
        _docstrings(path for path in _files(stdlib, "*.py") if not {"site-packages", "dist-packages"} & {*path.parts}),
        *(_prose(_files(site, "*.dist-info/**/*")) for site in sites),
        _prose(path for path in _files(_SYSTEM[1], "*") if path.suffix in _PROSE),
        *(_docstrings(_files(site, "*.py")) for site in sites),
    )
    seen = set()
    for document in found:
        if document.text not in seen and _is_english_prose(document.text):
            seen.add(document.text)
            yield document


def _files(folder: Path, pattern: str) -> Iterator[Path]:
    """Yield the readable files below a folder, sorted, without those of test suites; walked when first asked for."""
    found = sorted(path for path in folder.rglob(pattern) if path.is_file()) if folder.is_dir() else []
    yield from (path for path in found if not _TESTS & {*path.relative_to(folder).parts})


def _is_english_prose(text: str) -> bool:
    return _SHORTEST <= len(text) <= _LONGEST and len(text.encode()) <= _MOST_BYTES_PER_CHAR * len(text)


def _read(path: Path) -> str:
    """Return a file's text, or nothing where it is not readable UTF-8."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _prose(paths: Iterator[Path] | list[Path]) -> Iterator[Document]:
    for path in paths:
        text = _read(path)
        if path.name == "METADATA":  # headers, an empty line, then the README
            text = text.partition("\n\n")[2]
        if path.name not in {"RECORD", "SOURCES.txt"}:
            yield Document(text, path)


def _topics(path: Path) -> Iterator[Document]:
    """Return the language reference that `help("topics")` shows: a dict of strings in a module, parsed, not run."""
    for node in _parse(path).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Dict):
            yield from (Document(text.strip(), path) for text in ast.literal_eval(node.value).values())


def _docstrings(paths: Iterator[Path]) -> Iterator[Document]:
    """Return one document per module: its docstrings, in order."""
    for path in paths:
        nodes = ast.walk(_parse(path))
        owners = (n for n in nodes if isinstance(n, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef))
        yield Document("\n\n".join(filter(None, map(ast.get_docstring, owners))), path)


def _parse(path: Path) -> ast.Module:
    """Return a module's tree, or an empty one where the file cannot be read or parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # old files hold invalid escapes
            return ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return ast.Module(body=[], type_ignores=[])
