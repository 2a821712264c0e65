"""What the readers of documents share: where a JSON key stands, what the user says of the run beside the document."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.configs.settings import (
    ACCUMULATION,
    MODEL_FIELDS,
    Reading,
    Setting,
    Settings,
    Unknown,
    grad_accum_steps,
    read_overrides,
)
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.expressions import Value

NO_EXPERTS = "mixtures of experts are not modelled"
_OPTIMIZERS = {"AdamW": "adamw", "Adam": "adamw", "SGD": "sgd", "AdamW8bit": "adamw_8bit"}
_NANOGPT_ONLY = ("init_from", "dataset", "decay_lr", "lr_decay_iters", "eval_only")


def typed(overrides: Sequence[str], world_size: int, path: str) -> Settings:
    """Return what the user says of a document's run: overrides, and the processes that train.

    Raises:
        FwplanError: an override that is no setting, or one that only nanoGPT's config.py has.
    """
    top = read_overrides(overrides, own=MODEL_FIELDS)
    for key in _NANOGPT_ONLY:
        if key in top:
            raise FwplanError(f"{key} means nothing for {path}", hint="it is a setting of nanoGPT's config.py")
    if world_size > 1:
        top.setdefault("world_size", Setting("world_size", world_size, origin="override"))
    return top


def resolve(reading: Reading, top: Settings) -> None:
    """Turn overrides that decide a field, not being one, into that field."""
    settings = reading.settings
    if "world_size" in top and "parallel" not in top and top["world_size"].value != 1:
        parallel = settings.get("parallel", Setting("parallel", "none"))
        if parallel.value == "none":
            settings["parallel"] = Setting("world_size", "ddp", origin="override")
    if (ACCUMULATION - {"grad_accum_steps"}) & top.keys() and "micro_batch_size" in settings:
        settings.setdefault("context_length", Setting("context_length", 1024, origin="default"))
        steps = grad_accum_steps(settings, reading.path)
        if steps is not None:
            settings["grad_accum_steps"] = replace(steps, origin="override")


def optimizer_called(reading: Reading, named: Setting, implementation: str) -> Settings:
    """Return the optimizer of a class's name, such as "torch.optim.AdamW", in one of torch's implementations."""
    ours = _OPTIMIZERS.get(str(named.value).rpartition(".")[2])
    if ours is None:
        reading.refuse(f"{named.name} {named.value!r}"[:80], named.line, "another optimizer")
    found = {"optimizer": replace(named, value=ours)}
    return found if ours == "adamw_8bit" else found | {"optimizer_impl": Setting("optimizer", implementation)}


def ask_for_window(reading: Reading, window: Setting) -> None:
    """Ask for sequences that fit into attention's window: longer ones are not counted, shorter ones need none."""
    length = reading.settings.get("sequence_length", reading.settings["context_length"]).value
    if not isinstance(window.value, int) or not isinstance(length, int):
        return
    if length > window.value:
        why = f"attention through a window of {window.value:,} is not counted; sequences as long as that need none"
        reading.unknown.append(Unknown("sequence_length", window.line, why, value=str(window.value)))
    else:
        reading.notes.append(f"{window.name} {window.value:,} is no shorter than the sequences: attention is full")


def is_plain(value: object) -> bool:
    """Return whether a value is a number, a text, a switch or nothing: no list and no mapping."""
    return value is None or isinstance(value, bool | int | float | str)


def as_plain(value: Any) -> Value:
    """Return a value, a list or a mapping as its text, cut where nobody reads on."""
    return value if is_plain(value) else str(value)[:80]


def position(source: str, key: str, start: int = 0) -> int | None:
    """Return where `"key":` first stands in JSON from `start` on; None where it is spelled with escapes."""
    match = re.compile(rf'"{re.escape(key)}"\s*:').search(source, start)
    return match.start() if match else None


def line_of(source: str, key: str, start: int = 0) -> int | None:
    """Return the line of `"key":` in JSON, counted from 1."""
    found = position(source, key, start)
    return None if found is None else source.count("\n", 0, found) + 1
