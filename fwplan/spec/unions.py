"""Where in a spec pydantic's complaint is: a union's tag is no key that anybody typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

from pydantic import Tag

from fwplan.fields import Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def follow(root: type[Spec], location: Sequence[int | str]) -> tuple[str, type[Spec]]:
    """Return the path of keys in a complaint's location, such as "model.n_layer", and the part of the spec there."""
    path: list[str] = []
    held: dict[str | None, type[Spec]] = {None: root}  # what may be there, by tag
    for part in location:
        key = str(part)
        if key in held:
            held = {None: held[key]}
            continue
        path.append(key)
        owner = next(iter(held.values()))
        field = owner.model_fields.get(key)
        held = dict(members(field.annotation)) if field else held
        if field and isinstance(field.discriminator, str):
            held = {kind.model_fields[field.discriminator].default: kind for _, kind in members(field.annotation)}
        held = held or {None: owner}
    return ".".join(path), next(iter(held.values()))


def members(annotation: Any, tag: str | None = None) -> Iterator[tuple[str | None, type[Spec]]]:
    """Yield the specs that an annotation allows, each with the tag that it has in a union."""
    if isinstance(annotation, type) and issubclass(annotation, Spec):
        yield tag, annotation
    parts = get_args(annotation)
    tag = next((part.tag for part in parts if isinstance(part, Tag)), tag)
    for part in parts:
        yield from members(part, tag)
