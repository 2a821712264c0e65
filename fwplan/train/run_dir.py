"""A run's directory: spec.json, metrics.jsonl, last.pt, result.json, and whether a run may start or go on in it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fwplan.errors import FwplanError
from fwplan.files import write_json
from fwplan.train.checkpoint import refuse_other_spec

if TYPE_CHECKING:
    from pathlib import Path

    from fwplan.spec import RunSpec

SPEC, METRICS, CHECKPOINT, RESULT = "spec.json", "metrics.jsonl", "last.pt", "result.json"


def open_run_dir(run_dir: Path, spec: RunSpec, *, resume: bool) -> None:
    """Create run_dir and its spec.json, or check that it holds the run to go on with.

    A run that was killed before its first checkpoint, or even before its spec.json was in place, can be resumed.

    Raises:
        FwplanError: there is a run already and resume is false; or there is none, or another spec's, and it is true.
    """
    found = {path.name for path in _entries(run_dir)} - {f"{SPEC}.tmp"}
    if found and not resume:
        raise FwplanError(
            f"{str(run_dir)!r} already holds {'a run' if SPEC in found else 'other files'}",
            where=str(run_dir),
            hint="go on with that run with --resume, or delete the folder to start again",
        )
    if resume and not run_dir.exists():
        raise FwplanError(
            f"nothing to resume: there is no directory {str(run_dir)!r}",
            where=str(run_dir),
            hint="start the run without --resume",
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
        _create(run_dir, spec)


def _entries(run_dir: Path) -> list[Path]:
    if not run_dir.exists():
        return []
    if not run_dir.is_dir():
        raise FwplanError(
            f"{str(run_dir)!r} is a file, not a run directory", where=str(run_dir), hint="move that file away"
        )
    return list(run_dir.iterdir())


def _create(run_dir: Path, spec: RunSpec) -> None:
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FwplanError(
            f"cannot create {str(run_dir)!r}: {error.strerror}",
            where=str(run_dir),
            hint="put the plan in a folder that can be written",
        ) from error
    write_json(run_dir / SPEC, spec.model_dump(mode="json"))


def _read_spec(path: Path) -> dict[str, Any]:
    try:
        saved = json.loads(path.read_bytes())
        return {part: dict(saved[part]) for part in ("model", "train")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FwplanError(
            f"cannot read {path.name}: {error}", where=str(path), hint="start a new run in another directory"
        ) from error
