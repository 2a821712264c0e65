"""What `--set` pins: fields of the spec that are not to be searched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, TypeAdapter, ValidationError

from fwplan.errors import FwplanError
from fwplan.model.architectures import ARCHITECTURES
from fwplan.spec import TrainSpec
from fwplan.spec.flat import FIELDS

if TYPE_CHECKING:
    from collections.abc import Iterable

# What --set does not take: what has an option of its own, and what a plan's horizon decides.
_TAKEN = {
    "architecture": "--architecture",
    "context_length": "--context",
    "sequence_length": "--context",
    "max_steps": "--tokens",
    "max_tokens": "--tokens",
}
# What makes sense in one mode only pins that mode too.
_IMPLIED: dict[str, dict[str, Any]] = {
    "checkpoint_every": {"checkpointing": "block"},
    "loss_chunk_tokens": {"loss": "chunked"},
    "returns_logits": {"loss": "full"},
    "keeps_logits": {"loss": "full", "returns_logits": True},
    "momentum": {"optimizer": "sgd"},
}


def parse_pins(settings: Iterable[str], architecture: str = "gpt2") -> dict[str, Any]:
    """Return pinned fields of an architecture from "name=value" texts; "model." and "train." may stand before a name.

    Raises:
        FwplanError: not of that form, no such field, or no value that it takes.
    """
    pins: dict[str, Any] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        name = name.strip().removeprefix("train.").removeprefix("model.")
        if not equals:
            raise FwplanError(f"cannot read --set {setting}", hint="write --set micro_batch_size=8")
        if name in _TAKEN:
            raise FwplanError(f"{name} is not set with --set", hint=f"use {_TAKEN[name]}")
        pins[name] = _checked(name, _value(text.strip()), architecture)
    implied = {key: value for name, pinned in pins.items() if pinned for key, value in _IMPLIED.get(name, {}).items()}
    return implied | pins


def _value(text: str) -> Any:
    words = {"true": True, "false": False, "none": None, "null": None}
    if text.lower() in words and text != "none":
        return words[text.lower()]
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text


def _checked(name: str, value: Any, architecture: str) -> Any:
    """Return a field's value if it is one."""
    annotation = _annotation(name, architecture)
    if annotation is None:
        raise FwplanError(f"unknown field {name!r}", hint="docs/spec-reference.md lists them")
    field: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(strict=True, allow_inf_nan=False))
    try:
        return field.validate_python(value)
    except ValidationError as error:
        message = error.errors()[0]["msg"]
        raise FwplanError(
            f"{name}: {message} (got {value!r})", where="--set", hint="see docs/spec-reference.md"
        ) from None


def _annotation(name: str, architecture: str) -> Any:
    """Return what a field takes, by its flat name; None: there is none."""
    if name in FIELDS:
        return FIELDS[name].annotation
    fields = ARCHITECTURES[architecture].model_fields | TrainSpec.model_fields
    return fields[name].rebuild_annotation() if name in fields else None
