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

from fwplan.data.interrupt import held_interrupts
from fwplan.errors import FwplanError
from fwplan.signals import STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from multiprocessing.synchronize import Event

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
    spawn = get_context("spawn")
    stop = spawn.Event()
    executor = ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(stop,))
    try:
        waiting: deque[Future[Result]] = deque()
        for task in tasks:
            with _deaf_children(), _main_hidden():  # submit starts the processes
                waiting.append(executor.submit(_unless_stopped, function, task))
            if len(waiting) == 2 * workers:
                yield _result(waiting.popleft())
        while waiting:
            yield _result(waiting.popleft())
    finally:
        with held_interrupts():
            stop.set()  # what is under way is waited for: a worker killed while it hands on a result blocks its reader
            executor.shutdown(cancel_futures=True)


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Start processes that neither Ctrl-C nor a closed terminal reaches, not even before they come to _start_worker."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _PARENTS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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


_stop: list[Event] = []  # in a worker: set when its results are no longer wanted
# SIGTERM reaches them: by it the executor ends the others when one has died.
_PARENTS = tuple(number for number in STOP if number is not signal.SIGTERM)


def _unless_stopped(function: Callable[[Task], Result], task: Task) -> Result:
    """Return function(task), in a worker; nothing of use where nobody asks any more."""
    if _stop[0].is_set():
        raise FwplanError("stopped", hint="the same command goes on")
    return function(task)


def _start_worker(stop: Event) -> None:
    """Leave Ctrl-C and a closed terminal to the parent, and end when the parent does, even if it was killed."""
    _stop.append(stop)
    for number in _PARENTS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
