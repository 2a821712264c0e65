"""The column that holds the documents: what it may be, and its values as text."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

TEXT = "text"
_USUAL = ("text", "content", "document", "body", "raw_content", "markdown", "code", "completion", "message")
_NAMED = 8  # columns that an error lists


def check_text(schema: Any, name: str, path: Path) -> None:
    """Raise FwplanError unless exactly one column has that name, and holds what can be read as UTF-8."""
    found = schema.names.count(name)
    if found == 0:
        named = ", ".join(schema.names[:_NAMED]) + (", ..." if len(schema.names) > _NAMED else "")
        raise FwplanError(
            f"no {name!r} column; this file has {named}",
            where=str(path),
            hint=f"name the one that holds the documents: fwplan data prepare ... --text-column {_likely(schema)}",
        )
    if found > 1:
        raise FwplanError(
            f"{found} columns are named {name!r}", where=str(path), hint="rename all but the one to train on"
        )
    kind = schema.field(name).type
    if not (_is_text(kind) or pa.types.is_null(kind)):
        raise FwplanError(
            f"column {name!r} is {kind}, not text", where=str(path), hint="write the documents as strings"
        )


def _likely(schema: Any) -> str:
    """Return the column that holds the documents, by its name or as the only one of text; else a placeholder."""
    texts = [field.name for field in schema if _is_text(field.type)]
    found = texts if len(texts) == 1 else [name for name in texts if name.lower() in _USUAL]
    return shlex.quote(found[0]) if found else "NAME"


def _is_text(kind: Any) -> bool:
    """Return whether an Arrow type's values are text: strings or bytes in any layout, or a dictionary of them."""
    if pa.types.is_dictionary(kind):
        return _is_text(kind.value_type)
    tests = ("string", "large_string", "string_view", "binary", "large_binary", "binary_view")
    return any(getattr(pa.types, f"is_{test}", _never)(kind) for test in tests)  # views: pyarrow 16 and later


def _never(_kind: Any) -> bool:
    return False


def texts_of(column: Any) -> list[str | None]:
    """Return an Arrow array's values as text, None for null or empty; raises UnicodeDecodeError."""
    return [_decoded(value) or None for value in _values(column).to_pylist()]


def utf8_lengths(column: Any) -> npt.NDArray[np.int64]:
    """Return the bytes of UTF-8 of each value of an Arrow array, 0 for null."""
    lengths = pc.binary_length(_values(column).cast(pa.large_binary()))
    return np.asarray(lengths.fill_null(0), np.int64)


def first_invalid(column: Any) -> tuple[int, UnicodeDecodeError]:
    """Return (the place in an Arrow array of the first value that is not UTF-8, what is wrong with it)."""
    for place, value in enumerate(_values(column).cast(pa.large_binary()).to_pylist()):
        try:
            _decoded(value)
        except UnicodeDecodeError as error:
            return place, error
    raise ValueError("every value is UTF-8")


def _values(column: Any) -> Any:
    return column.dictionary_decode() if pa.types.is_dictionary(column.type) else column


def _decoded(value: str | bytes | None) -> str | None:
    return value.decode() if isinstance(value, bytes) else value
