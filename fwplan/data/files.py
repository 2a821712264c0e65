"""Which parquet files a user means by a file, a folder or a glob."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.data.foreign import hint_for
from fwplan.errors import FwplanError
from fwplan.files import user_path

if TYPE_CHECKING:
    from collections.abc import Iterable


def find_files(paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[Path]:
    """Return the parquet files that `paths` name: sorted within a folder or glob, each file once.

    Raises:
        FwplanError: a path names nothing, or a folder holds no parquet file.
    """
    named = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not named or "" in named:  # "" would be the folder one is in: an unset variable of a script's
        raise FwplanError("no parquet file was named", hint="name a file, a folder or a glob")
    found = [file for path in named for file in _expand(user_path(path))]
    return list(dict.fromkeys(found))  # a file named twice would be trained on twice


def _expand(path: Path) -> list[Path]:
    if path.is_file():
        return [path.resolve()]
    if path.is_dir():
        files = _in_folder(path)
        if not files:
            raise FwplanError(
                f"folder {str(path)!r} holds no .parquet file",
                where=str(path),
                hint=hint_for(sorted(path.iterdir())) or "name the folder that the parquet files are in",
            )
        return files
    matches = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 (Path.glob takes no absolute pattern)
    files = [Path(match).resolve() for match in matches if Path(match).is_file()]
    if not files:
        raise FwplanError(f"no such file, folder or glob: {str(path)!r}", hint="give the path of a .parquet file")
    return files


def _in_folder(folder: Path) -> list[Path]:
    """Return the parquet files below a folder, without hidden ones (caches and half-finished downloads)."""
    files = sorted(file for file in folder.rglob("*.parquet") if file.is_file())
    return [file.resolve() for file in files if not any(p.startswith(".") for p in file.relative_to(folder).parts)]
