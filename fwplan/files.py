"""Where files are, and files written whole or not at all: a temporary one beside it, flushed to disk, then a rename."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable


ROOM = "free some space, or choose another folder"


def user_path(path: str | os.PathLike[str]) -> Path:
    """Return a path with its ~ as the home that it stands for, or as it is where there is no such user or home."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises a RuntimeError there


def state_folder() -> Path:
    """Return the folder of what is kept from run to run: $FWPLAN_HOME, else fwplan in the user's state directory."""
    home = os.environ.get("FWPLAN_HOME")
    if home:
        return Path(home)
    return Path(os.environ.get("XDG_STATE_HOME") or _home() / ".local" / "state") / "fwplan"


def _home() -> Path:
    """Return the user's home; the root for who has none, as in a container under a bare number: what Docker sets."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def replace_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let write fill a temporary file beside path, flush it to disk, then rename it over path.

    Raises:
        OSError: as the system says; also where path exists and is no regular file (a device, a folder).
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EEXIST, "it exists and is not a regular file")
    temporary = path.with_name(path.name + ".tmp")
    temporary.unlink(missing_ok=True)  # left by a crash; or a link, which writing would follow
    try:
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)  # noqa: PTH105 - the tests make this one call fail
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)


def sync_directory(directory: Path) -> None:
    """Make a rename itself durable; systems without directory handles (Windows) do so on their own."""
    with contextlib.suppress(OSError):
        handle = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, document: dict[str, Any], hint: str = ROOM) -> None:
    """Write a JSON document so that a reader sees the old one or the new one, never half of it.

    Raises:
        FwplanError: the folder is missing, cannot be written, or is full.
    """
    text = json.dumps(document, indent=2, allow_nan=False) + "\n"
    write_whole(path, lambda file: file.write(text.encode()), hint)


def write_whole(path: Path, write: Callable[[IO[bytes]], object], hint: str = ROOM) -> None:
    """Let write fill a file as replace_atomically does.

    Raises:
        FwplanError: the folder is missing, cannot be written, or is full.
    """
    try:
        replace_atomically(path, write)
    except OSError as error:
        raise FwplanError(f"cannot write {path.name}: {error.strerror}", where=str(path), hint=hint) from error
