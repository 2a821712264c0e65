"""JSON read strictly, with errors that say where."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from fwplan.errors import FwplanError


def parse_json(source: str, path: str) -> Any:
    """Return the value in a JSON text, strictly: a key set twice and NaN are errors.

    Raises:
        FwplanError: not JSON; says line and column.
    """
    try:
        return json.loads(source, object_pairs_hook=_without_duplicates, parse_constant=_refuse_constant)
    except FwplanError as error:
        raise FwplanError(error.message, where=path, hint=error.hint) from None
    except json.JSONDecodeError as error:
        where = f"{path}:{error.lineno}:{error.colno}"
        raise FwplanError(f"not valid JSON: {error.msg}", where=where, hint=f"python -m json.tool {path}") from None
    except (RecursionError, ValueError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise FwplanError(f"cannot be parsed: {message}", where=path, hint="is it the right file?") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        twice, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise FwplanError(f"key {twice!r} is set twice in one object", hint="keep one of them")
    return read


def _refuse_constant(name: str) -> Any:
    raise FwplanError(f"{name} is no number in JSON", hint="leave the field out, or give a number")
