"""A script's learning rate as a spec can say it: scripts run with a decay that rises, and a warm-up without an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from fwplan.spec import RunSpec

if TYPE_CHECKING:
    from fwplan.configs.settings import Reading


def settle_learning_rate(reading: Reading) -> None:
    """Cut a script's min_lr and warm-up to what they can be at most, and say so: neither changes memory or time."""
    train = reading.document.get("train", {})
    least, warmup = train.get("min_lr"), train.get("warmup_steps")
    spec = _without(reading, "min_lr", "warmup_steps")
    if spec is None:
        return
    peak, steps = spec.train.optimizer.learning_rate, spec.steps
    if isinstance(least, int | float) and least > peak:
        train["min_lr"] = peak
        reading.notes.append(f"min_lr {least:g} is above learning_rate {peak:g}: read as no decay")
    if isinstance(warmup, int) and steps is not None and warmup > steps:
        train["warmup_steps"] = steps
        reading.notes.append(f"a warm-up of {warmup:,} steps goes beyond the end: all {steps:,} of the run warm up")


def _without(reading: Reading, *fields: str) -> RunSpec | None:
    """Return the run without these fields of its recipe; None where it is wrong or unknown for another reason."""
    train = {key: value for key, value in reading.document.get("train", {}).items() if key not in fields}
    try:
        return RunSpec.model_validate(reading.document | {"train": train})
    except ValidationError:
        return None
