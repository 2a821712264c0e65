"""One process at a time in a folder: a lock that the system itself lets go when its holder dies, however it dies.

What is locked is a file in the folder, which says who holds it; that the file is there means nothing. filelock, the
usual library, empties that file when it tries to lock it, and has no lock that readers share.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LOCK = ".lock"
_POLL_SECONDS = 0.1
_UNNAMED_SECONDS = 3.0  # a holder writes who it is right after it has locked
_BUSY = {errno.EAGAIN, errno.EACCES, errno.EDEADLK}  # flock says the first, flock on NFS and Windows the others

if sys.platform == "win32":
    import msvcrt

    def _lock(file: int, *, shared: bool) -> None:
        if not shared:  # Windows has none to share here; a file that is mapped cannot be replaced there either
            os.lseek(file, 2**30, os.SEEK_SET)  # what is locked cannot be read: lock a byte that nobody writes
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int, path: Path) -> None:  # noqa: ARG001 (an open file cannot be removed there, so it stays)
        os.close(file)
else:
    import fcntl

    def _lock(file: int, *, shared: bool) -> None:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)

    def _unlock(file: int, path: Path) -> None:
        with suppress(OSError):  # somebody else shares it: the last one removes the file, and while it is locked
            _lock(file, shared=False)
            path.unlink()
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_UN)  # closing alone would leave it with a child that was forked
        os.close(file)


class Holder(NamedTuple):
    """Who holds a folder, by its own word."""

    pid: int
    host: str
    what: str  # it is doing: "preparing tokens"
    key: str | None  # of the work

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: what it wrote is then about to be replaced."""
        if self.host != platform.node() or sys.platform == "win32":  # where asking would end the process
            return False
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return True
        except OSError:
            return False
        return False

    def __str__(self) -> str:
        place = "" if self.host == platform.node() else f" on {self.host}"
        return f"pid {self.pid}{place} is {self.what}"


@contextmanager
def locked(
    folder: Path,
    what: str,
    *,
    key: str | None = None,
    shared: bool = False,
    name: str = LOCK,
    note: Callable[[str], None] | None = None,
) -> Iterator[None]:
    """Hold a folder, made where it is missing, while the block runs; a filesystem that has no locks is said and used.

    Args:
        folder: what no other process may hold at the same time, whichever way it ends.
        what: is being done, as another process will read it after "pid 123 is": "preparing tokens".
        key: of the work. A holder of the same key is waited for: afterwards the work may be done. None: nobody is.
        shared: hold it together with others that share it. Not on Windows, nor where the folder cannot be written.
        name: of the file that is locked.
        note: called with what the user should know: who is waited for, that there are no locks here.

    Raises:
        FwplanError: another process holds it, named by its pid.
        OSError: the folder cannot be made or written.
    """
    path, tell = folder / name, note or _silent
    made = not folder.exists()
    file = _held(path, Holder(os.getpid(), platform.node(), what, key), shared, tell)
    try:
        yield
    finally:
        if file is not None:
            _unlock(file, path)
        if made:
            with suppress(OSError):  # not empty, as it should be
                folder.rmdir()


def _held(path: Path, me: Holder, shared: bool, tell: Callable[[str], None]) -> int | None:
    """Return the locked file's descriptor, in the end; None where there can be no lock."""
    waited_for, patience = None, time.monotonic() + _UNNAMED_SECONDS
    while True:
        try:
            file = _tried(path, shared)
        except _NoLocksError as error:
            tell(f"{path.parent} has no locks ({error}): start nothing else in it meanwhile")
            return None
        except OSError as error:
            if shared and error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                return None
            raise
        if file is not None:
            _sign(file, me)
            return file
        holder = _holder(path)
        if holder is None or holder.gone:
            if time.monotonic() > patience:
                raise _in_use(path.parent, "another process holds it")
        elif me.key is None or holder.key != me.key:
            raise _in_use(path.parent, str(holder))
        else:
            patience = time.monotonic() + _UNNAMED_SECONDS
            if holder.pid != waited_for:
                tell(f"waiting: {holder} in {path.parent}")
                waited_for = holder.pid
        time.sleep(_POLL_SECONDS)


class _NoLocksError(Exception):
    """The filesystem has no locks."""


def _tried(path: Path, shared: bool) -> int | None:
    """Return the locked file's descriptor, None where another holds it."""
    while True:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except FileNotFoundError:  # whoever had made the folder has just removed it
            continue
        try:
            _lock(file, shared=shared)
        except OSError as error:
            os.close(file)
            if error.errno in _BUSY:
                return None
            raise _NoLocksError(error.strerror) from error
        if _is_at(file, path):
            return file
        os.close(file)  # its holder removed it between our opening and our locking it


def _is_at(file: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file), path.stat())
    except FileNotFoundError:
        return False


def _sign(file: int, me: Holder) -> None:
    with suppress(OSError):  # a full disk: the lock holds without a name
        os.ftruncate(file, 0)
        os.lseek(file, 0, os.SEEK_SET)
        os.write(file, json.dumps(me._asdict()).encode())


def _holder(path: Path) -> Holder | None:
    try:
        said: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return Holder(int(said["pid"]), str(said["host"]), str(said["what"]), said["key"])
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _in_use(folder: Path, who: str) -> FwplanError:
    return FwplanError(
        f"{str(folder)!r} is in use: {who}", where=str(folder), hint="wait until it has ended, or stop it"
    )


def _silent(_: str) -> None:
    """Say nothing."""
