"""A run's directory: spec, metrics, log, checkpoint and result, and whether a run may start or go on in it."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from fwplan.errors import FwplanError
from fwplan.files import write_json
from fwplan.locks import LOCK, locked
from fwplan.train.checkpoint import refuse_other_spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fwplan.spec import RunSpec

SPEC, METRICS, LOG, CHECKPOINT, RESULT = "spec.json", "metrics.jsonl", "log.txt", "last.pt", "result.json"


@contextmanager
def open_run_dir(run_dir: Path, spec: RunSpec, *, resume: bool, note: Callable[[str], None]) -> Iterator[None]:
    """Hold run_dir for this process alone while the block runs, with its spec.json in place or checked.

    A run that was killed before its first checkpoint, or even before its spec.json was in place, can be resumed.

    Args:
        run_dir: made where it is missing.
        spec: of the run.
        resume: whether the run is in it already.
        note: called with what the user should know.

    Raises:
        FwplanError: a run of another process is in it now; there is a run already and resume is false; or there is
            none, or another spec's, and it is true.
    """
    if resume and not run_dir.exists():
        raise FwplanError(
            f"nothing to resume: there is no directory {str(run_dir)!r}",
            where=str(run_dir),
            hint="start the run without --resume",
        )
    if run_dir.exists() and not run_dir.is_dir():
        raise FwplanError(
            f"{str(run_dir)!r} is a file, not a run directory", where=str(run_dir), hint="move that file away"
        )
    with ExitStack() as stack:
        try:
            stack.enter_context(locked(run_dir, "training in it", note=note))
        except OSError as error:
            raise FwplanError(
                f"cannot write in {str(run_dir)!r}: {error.strerror}",
                where=str(run_dir),
                hint="put the plan in a folder that can be written",
            ) from error
        _check_or_begin(run_dir, spec, resume=resume)
        yield


def _check_or_begin(run_dir: Path, spec: RunSpec, *, resume: bool) -> None:
    found = {path.name for path in run_dir.iterdir()} - {f"{SPEC}.tmp", LOCK}
    if found and not resume:
        raise FwplanError(
            f"{str(run_dir)!r} already holds {'a run' if SPEC in found else 'other files'}",
            where=str(run_dir),
            hint="go on with that run with --resume, or delete the folder to start again",
        )
    if SPEC in found:
        refuse_other_spec(_read_spec(run_dir / SPEC), spec, where=str(run_dir / SPEC))
    elif found:
        raise FwplanError(
            f"nothing to resume: {str(run_dir)!r} holds other files but no {SPEC}",
            where=str(run_dir),
            hint="start the run without --resume, in a directory of its own",
        )
    else:
        write_json(run_dir / SPEC, spec.model_dump(mode="json"))


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_bytes())
        return {part: dict(saved[part]) for part in ("model", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FwplanError(
            f"cannot read {path.name}: {error}", where=str(path), hint="start a new run in another directory"
        ) from error
