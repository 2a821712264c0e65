"""A recipe's fields by flat names: what version 1 called them, and what --set, overrides, fixes and differences say.

`optimizer` is the optimizer's name and `learning_rate` a field of it. What version 1 had no name for goes by its place:
`loss.dtype`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, get_args

from fwplan.optimizers.optimizers import AnyOptimizer
from fwplan.parallel.ways import AnyParallel
from fwplan.spec.loss import AnyLoss
from fwplan.spec.schedule import AnySchedule

if TYPE_CHECKING:
    from fwplan.fields import Spec
    from fwplan.spec.train import TrainSpec


def _members(union: Any) -> dict[str, type[Spec]]:
    """Return the classes of a union by the names that choose them, the default first."""
    classes = get_args(get_args(union)[0]) if get_args(union) else (union,)
    return {one.model_fields["name"].default: one for one in classes}


PARTS = {
    "loss": _members(AnyLoss),
    "optimizer": _members(AnyOptimizer),
    "parallel": _members(AnyParallel),
    "schedule": _members(AnySchedule),
}
# Version 1's names of what is now a field of a part.
VERSION_1 = {
    "loss_chunk_tokens": ("loss", "chunk_tokens"),
    "returns_logits": ("loss", "returns_logits"),
    "keeps_logits": ("loss", "keeps_logits"),
    "optimizer_impl": ("optimizer", "implementation"),
    "momentum": ("optimizer", "momentum"),
    "learning_rate": ("optimizer", "learning_rate"),
    "weight_decay": ("optimizer", "weight_decay"),
    "beta1": ("optimizer", "beta1"),
    "beta2": ("optimizer", "beta2"),
    "world_size": ("parallel", "world_size"),
    "min_lr": ("schedule", "min_lr"),
    "warmup_steps": ("schedule", "warmup_steps"),
}
_NAMES = {place: name for name, place in VERSION_1.items()}
_UNKNOWN_TO_VERSION_1 = "schedule"  # the part, which had no name; of fields those that go by their place


class Field(NamedTuple):
    """A field of a part: where it is, what it takes, and what it is where nobody says it."""

    part: str
    name: str
    annotation: Any
    default: Any


def flat_name(part: str, field: str) -> str:
    """Return what a field of a part is called: `beta2`, or its place where version 1 had no name for it."""
    return part if field == "name" else _NAMES.get((part, field), f"{part}.{field}")


def _fields() -> dict[str, Field]:
    found: dict[str, Field] = {}
    for part, classes in PARTS.items():
        names = Literal[tuple(classes)]  # type: ignore[valid-type]
        found[part] = Field(part, "name", names, next(iter(classes)))
        for one in classes.values():
            for name, field in one.model_fields.items():
                found.setdefault(flat_name(part, name), Field(part, name, field.rebuild_annotation(), field.default))
    return found


FIELDS = _fields()


def nested(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's document with every flat name at its place; a bare name stands for a part.

    What the chosen part has no use for is left out, as version 1 took a momentum beside AdamW.

    Raises:
        ValueError: a flat name says what the chosen part cannot be told, or what is said at its place too.
    """
    rest = {name: value for name, value in values.items() if name not in FIELDS}
    flat: dict[str, dict[str, Any]] = {}
    for name in FIELDS.keys() & values.keys() - PARTS.keys():
        flat.setdefault(FIELDS[name].part, {})[name] = values[name]
    for part in PARTS:
        if part in values or part in flat:
            rest[part] = _part(part, values.get(part, FIELDS[part].default), flat.get(part, {}))
    return rest


def _part(part: str, given: Any, flat: Mapping[str, Any]) -> Any:
    """Return a part's document, or what is given where that is nothing that fields can be put into."""
    if isinstance(given, str):
        given = {"name": given}
    if not isinstance(given, Mapping):
        return {**given.model_dump(), **_told(type(given), flat)} if flat and hasattr(given, "name") else given
    given = {"name": FIELDS[part].default} | dict(given)
    kind = PARTS[part].get(given["name"]) if isinstance(given["name"], str) else None
    if kind is None:
        return given
    twice = [name for name in flat if FIELDS[name].name in given]
    if twice:
        raise ValueError(f"{twice[0]} is said twice: by itself, and as {part}.{FIELDS[twice[0]].name}")
    return given | _told(kind, flat)


def _told(kind: Any, flat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a part is told by flat names, by its own names for it."""
    told: dict[str, Any] = {}
    for name, value in flat.items():
        field = FIELDS[name].name
        if field in kind.model_fields:
            told[field] = value
        elif field in kind.refuses and value not in (None, getattr(kind, field)):
            raise ValueError(kind.refuses[field].format(value))
    return told


def spread(train: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's document with the parts' fields by flat names; what is no field of a part keeps its place."""
    found: dict[str, Any] = {}
    for name, value in train.items():
        if name not in PARTS or not isinstance(value, Mapping):
            found[name] = value
            continue
        told = {"name": FIELDS[name].default} | dict(value)
        kind = PARTS[name].get(str(told["name"]))
        fields = kind.model_fields if kind else told
        found |= {flat_name(name, key) if key in fields else f"{name}.{key}": inner for key, inner in told.items()}
    return found


def flat(train: TrainSpec) -> dict[str, Any]:
    """Return a recipe by flat names: all of version 1's, and what it had no name for where that is no default."""
    found: dict[str, Any] = {}
    for name, value in train:
        if name not in PARTS:
            found[name] = value
            continue
        found |= {flat_name(name, field): inner for field, inner in value}
    defaults = {name: FIELDS[name].default for name in VERSION_1}
    new = {name for name in found if "." in name or name == _UNKNOWN_TO_VERSION_1}
    return defaults | {name: v for name, v in found.items() if name not in new or v != FIELDS[name].default}
