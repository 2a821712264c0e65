"""A worker process: started in a group of its own, limited in time, killed with all that it started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from fwplan.allocator.environment import environment
from fwplan.errors import FwplanError
from fwplan.learning.result import Report, Setup

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.spec import RunSpec

MEASURE_ONE, ABOUT_DEVICE = "fwplan.train.measure_one", "fwplan.train.about_device"
ABOUT_SECONDS = 120.0  # a cold import of torch from a slow disk
_LOG_CHARACTERS = 2000


@dataclass(frozen=True)
class Ended:
    """How a process ended: exit code (negative: the signal; None: killed at its limit), what it said, and seconds."""

    code: int | None
    stdout: str
    stderr: str
    seconds: float

    @property
    def last_words(self) -> str:
        """The last line of its stderr, or nothing."""
        return next((line.strip() for line in reversed(self.stderr.splitlines()) if line.strip()), "")


def run_module(module: str, arguments: Sequence[str], said: str, limit: float, **environment: str) -> Ended:
    """Run `python -m module` with text on its stdin, kill its whole group after `limit` seconds, return how it ended.

    Its own session: Ctrl-C reaches only this process, which then kills the group; nothing dies half-measured.
    """
    with tempfile.TemporaryFile() as stdin, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        stdin.write(said.encode())
        stdin.seek(0)
        begin = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=stdin, stdout=out, stderr=err, start_new_session=True, env=os.environ | environment,
        )  # fmt: skip
        code = _wait(process, limit)
        return Ended(code, _text(out), _text(err), time.monotonic() - begin)


def _wait(process: subprocess.Popen[bytes], limit: float) -> int | None:
    """Return the exit code, or None where the limit came first; whatever happens, nothing of the group is left."""
    try:
        return process.wait(timeout=limit)
    except subprocess.TimeoutExpired:
        return None
    finally:
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGKILL)  # compilers that it started, too
    except (AttributeError, ProcessLookupError, PermissionError):  # no groups on Windows; all of it gone already
        process.kill()
    process.wait()


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def ask_about(device: str | None) -> Setup:
    """Return the machine that measures: `device`, or with None a CUDA GPU where torch sees one, else the CPU.

    Raises:
        FwplanError: torch cannot be loaded, or has no such device here.
    """
    ended = run_module(ABOUT_DEVICE, [device] if device else [], "", ABOUT_SECONDS)
    answer = _last_json(ended.stdout)
    if isinstance(answer, dict) and "error" in answer:
        raise FwplanError(answer["error"], hint=answer["hint"])
    try:
        return Setup.model_validate(answer)
    except ValidationError:
        raise FwplanError(f"torch cannot be asked about this device: {_reason(ended)}",
                          hint=f"{sys.executable} -m {ABOUT_DEVICE} says more") from None  # fmt: skip


def measure(spec: RunSpec, limit: float) -> tuple[Report | None, Ended]:
    """Return what a process of its own reports on a spec, and how it ended; no report: killed at its limit.

    Its compiler's cache is its own and new: what a first step needs would otherwise depend on what ran before it.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        settings = environment(expandable_segments=spec.train.expandable_segments)
        ended = run_module(MEASURE_ONE, [], spec.model_dump_json(), limit, TORCHINDUCTOR_CACHE_DIR=cache, **settings)
    if ended.code is None:
        return None, ended
    try:
        return Report.model_validate_json(json.dumps(_last_json(ended.stdout))), ended
    except ValidationError:
        return Report(error=_reason(ended)), ended


def _last_json(text: str) -> Any:
    """Return the JSON value in a text's last line; None where there is none."""
    try:
        return json.loads(text.rstrip().rpartition("\n")[2])
    except ValueError:
        return None


def _reason(ended: Ended) -> str:
    if ended.code is None:
        return f"no answer after {ended.seconds:.0f} s"
    how = f"exit code {ended.code}" if ended.code >= 0 else f"killed by {_signal_name(-ended.code)}"
    return f"{how}: {ended.last_words}" if ended.last_words else how


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def log_of(ended: Ended) -> str | None:
    """Return the end of what a process wrote to stderr, or None where it wrote nothing."""
    return ended.stderr[-_LOG_CHARACTERS:].strip() or None
