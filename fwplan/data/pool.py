"""A function over tasks in a pool of processes: results in order, few in flight, one clear error."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections import deque
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from fwplan.errors import FwplanError
from fwplan.signals import STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

Task = TypeVar("Task")
Result = TypeVar("Result")


def cpus() -> int:
    """Return the number of CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def ordered_map(
    function: Callable[[Task], Result], tasks: Iterable[Task], workers: int
) -> Generator[Result, None, None]:
    """Return function(task) for each task, in order; one worker runs in this process.

    At most two results per worker wait, so that a slow writer or a slow first task cannot fill memory. Processes are
    spawned everywhere, not forked: pyarrow has threads, and all systems then behave alike. They do not run the user's
    script again, so it needs no `if __name__ == "__main__"`; function and tasks must be of a module, not of a script.

    Raises:
        FwplanError: from a worker, or because a worker failed or died.
    """
    if workers == 1:
        yield from map(function, tasks)
        return
    executor = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_start_worker)
    try:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            with _main_hidden():  # submit starts the processes
                waiting.append(executor.submit(function, task))
            if len(waiting) == 2 * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        executor.shutdown(cancel_futures=True)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """Let spawned processes see an empty main module, which they have no file of to run."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except FwplanError:
        raise
    except BrokenProcessPool as error:
        raise FwplanError(
            "a worker process died, perhaps for lack of memory", hint="try again with workers=1, or with fewer workers"
        ) from error
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise FwplanError(f"a worker process failed with {reason}", hint="try again with workers=1") from error


def _start_worker() -> None:
    """Leave Ctrl-C and a closed terminal to the parent, and end when the parent does, even if it was killed."""
    for number in STOP:
        if number is not signal.SIGTERM:  # by which the executor ends the others when one has died
            signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
