"""meta.json: what a prepared data set is, what it was made from, and by what recipe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from pathlib import Path

META = "meta.json"
SCHEMA_VERSION = 2


def read_meta(folder: Path) -> dict[str, Any]:
    """Return meta.json as a dict; raises FwplanError where there is none that this fwplan can read."""
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        version = meta["schema_version"]
    except FileNotFoundError:
        raise FwplanError(
            f"no prepared data in {str(folder)!r}: it has no {META}",
            where=str(path),
            hint="name a folder that fwplan prepared, or the parquet itself",
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise damaged(path, error) from error
    if version != SCHEMA_VERSION:
        raise FwplanError(
            f"schema_version is {version!r}; this fwplan reads {SCHEMA_VERSION}",
            where=str(path),
            hint="prepare the data again, or upgrade: pip install -U fwplan",
        )
    return dict(meta)


def damaged(path: Path, error: Exception) -> FwplanError:
    """Return the error for a meta.json that is there and cannot be used."""
    reason = f"no key {error}" if isinstance(error, KeyError) else str(error)
    return FwplanError(f"cannot use {path.name}: {reason}", where=str(path), hint="prepare the data again")
