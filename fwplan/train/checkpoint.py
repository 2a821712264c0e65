"""A run's checkpoint, last.pt: written so that a crash at any moment leaves a whole one, read without trusting it."""

from __future__ import annotations

import contextlib
import pickle
import zipfile
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.files import replace_atomically
from fwplan.spec import TrainSpec
from fwplan.spec.flat import flat

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fwplan.spec import RunSpec
    from fwplan.train.step import Trainer

_FORMAT = 1
_KEYS = frozenset({"format", "spec", "progress", "model", "optimizer", "scaler", "rng"})


@dataclass(frozen=True)
class Progress:
    """How far a checkpoint is, and on what data."""

    step: int  # optimizer steps completed
    train_tokens: int  # in the training split: the batches of a step depend on it
    best_val_loss: float | None


def save_checkpoint(path: Path, trainer: Trainer, progress: Progress) -> None:
    """Write the run's whole state to path; until the new file is complete and on disk, the previous one stays.

    Raises:
        FwplanError: it could not be written (no space left, say); the previous checkpoint is untouched.
    """
    state = {
        "format": _FORMAT,
        "spec": trainer.spec.model_dump(mode="json"),
        "progress": asdict(progress),
        "model": trainer.model.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "rng": _rng_state(trainer.device),
    }
    try:
        replace_atomically(path, lambda file: torch.save(state, file))
    except (OSError, RuntimeError) as error:
        kept = f"the previous one in {path.parent} is untouched" if path.exists() else "there is no earlier one"
        raise FwplanError(
            f"cannot write a checkpoint after step {progress.step}: {_os_reason(error)}; {kept}",
            where=str(path),
            hint="free some space there, then go on with --resume",
        ) from error


def _os_reason(error: BaseException) -> str:
    """Return why writing failed; torch's zip writer raises an error of its own over the system's."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__context__
    return str(error).splitlines()[0]


def load_checkpoint(path: Path, trainer: Trainer) -> Progress:
    """Put the state saved at path into the trainer and the random generators; return how far it is.

    Raises:
        FwplanError: the file is damaged, or is a checkpoint of another spec; the trainer is then unusable.
    """
    state = _read(path)
    refuse_other_spec(state["spec"], trainer.spec, where=str(path))
    with _damage_is_an_error(path):
        trainer.model.load_state_dict(state["model"])
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scaler.load_state_dict(state["scaler"])
        _restore_rng(state["rng"], trainer.device)
        return Progress(**state["progress"])


def _read(path: Path) -> dict[str, Any]:
    with _damage_is_an_error(path):
        with zipfile.ZipFile(path) as archive:  # torch's own reader does not check the checksums it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise ValueError(f"checksum of {damaged} does not match")
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(state, dict) or not state.keys() >= _KEYS:
            raise ValueError("it is not a checkpoint of fwplan")
    if state["format"] != _FORMAT:
        raise FwplanError(
            f"checkpoint format {state['format']} is not the one this fwplan reads ({_FORMAT})",
            where=str(path),
            hint="resume with the version of fwplan that started the run",
        )
    return state


@contextlib.contextmanager
def _damage_is_an_error(path: Path) -> Iterator[None]:
    kinds = (OSError, EOFError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, IndexError)
    try:
        yield
    except (*kinds, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise FwplanError(
            f"cannot read the checkpoint, it is damaged: {str(error).splitlines()[0] if str(error) else error!r}",
            where=str(path),
            hint="restore it from a copy, or delete it and --resume to start again from step 0",
        ) from error


def refuse_other_spec(saved: dict[str, Any], spec: RunSpec, *, where: str) -> None:
    """Refuse to go on with a run whose model or recipe is not the spec's; device and data path may move.

    Raises:
        FwplanError: names the fields that differ, with both values.
    """
    was, now = _fields(saved["model"], saved["train"]), _fields(spec.model.model_dump(mode="json"), spec.train)
    differences = [
        f"{name} is {was.get(name)!r} there and {now.get(name)!r} here"
        for name in sorted(was | now)
        if was.get(name) != now.get(name)
    ]
    if differences:
        more = f" (and {len(differences) - 1} more)" if len(differences) > 1 else ""
        raise FwplanError(
            f"this run was started with another spec: {differences[0]}{more}",
            where=where,
            hint="resume with the spec that the run directory's spec.json holds, or start a new run elsewhere",
        )


def _fields(model: dict[str, Any], train: TrainSpec | dict[str, Any]) -> dict[str, Any]:
    """Return a run's fields by their flat names; of a recipe that this version does not know, as they are written."""
    recipe: Any = train
    with contextlib.suppress(ValidationError):
        recipe = flat(TrainSpec.model_validate(train))
    parts = {"model": model, "train": recipe}
    return {f"{part}.{name}": value for part, fields in parts.items() for name, value in fields.items()}


def _rng_state(device: torch.device) -> dict[str, torch.Tensor]:
    """Return the states of the generators that dropout draws from."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    elif device.type == "mps":
        states["mps"] = torch.mps.get_rng_state()
    return states


def _restore_rng(states: dict[str, torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
    elif device.type == "mps" and "mps" in states:
        torch.mps.set_rng_state(states["mps"])
