"""From a JSON document to a run, with one clear sentence where it is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.model.gpt2 import GPT2
from fwplan.spec.data import DataSpec
from fwplan.spec.device import DeviceSpec
from fwplan.spec.flat import PARTS, flat_name
from fwplan.spec.run import SCHEMA_VERSION, RunSpec
from fwplan.spec.train import TrainSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from pydantic_core import ErrorDetails

    from fwplan.fields import Spec


def parse_spec(document: Any, where: str) -> RunSpec:
    """Return the RunSpec in a JSON document.

    Raises:
        FwplanError: the document is not a spec; names the field, what was found and what is allowed.
    """
    check_version(document, where)
    try:
        return RunSpec.model_validate(document)
    except ValidationError as error:
        raise spec_error(error, where, document=document) from None


def check_version(document: Any, where: str) -> None:
    """Raise FwplanError where a document was written by a newer fwplan than this."""
    if isinstance(document, dict):
        version = document.get("schema_version", SCHEMA_VERSION)
        if isinstance(version, bool) or not isinstance(version, int):
            raise FwplanError(f"schema_version {version!r} is no version", where=where, hint=f"write {SCHEMA_VERSION}")
        if version > SCHEMA_VERSION:
            raise FwplanError(
                f"schema_version {version} was made by a newer fwplan; this one reads up to {SCHEMA_VERSION}",
                where=where,
                hint="upgrade: pip install -U fwplan",
            )


def spec_error(
    error: ValidationError,
    where: str,
    hint: str = "see the README's table of spec.json's fields",
    *,
    document: Any = None,
) -> FwplanError:
    """Return pydantic's first complaint as one clear FwplanError, by the names that the document uses."""
    first, *rest = error.errors()
    path = _place(first["loc"])
    field = ".".join(_named(path, document))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = f"unknown key {field!r}"
        hint = f"known keys there: {', '.join(_known_keys(path[:-1], first['loc']))}"
    else:
        message = f"{field}: {_input(first) or message}{_shown(first)}" if field else message + _shown(first)
    if rest:
        message += f" (and {len(rest)} more)"
    return FwplanError(message, where=where, hint=hint)


def _input(error: ErrorDetails) -> str | None:
    """Return what should have been given, where pydantic's own words name a class or a discriminator."""
    if error["type"] in {"model_type", "model_attributes_type"}:
        return "Input should be an object"
    if error["type"] == "union_tag_invalid":
        *most, last = error["ctx"]["expected_tags"].split(", ")
        return f"Input should be {', '.join(most)} or {last}"
    return None


def _shown(error: ErrorDetails) -> str:
    """Return what was given, if it is no whole section."""
    given = error["ctx"]["tag"] if error["type"] == "union_tag_invalid" else error["input"]
    return "" if isinstance(given, dict) else f" (got {_short(given)})"


def _place(loc: Iterable[int | str]) -> list[str]:
    """Return the path to a field as a document has it: without the names that chose a part's class."""
    path: list[str] = []
    tags: Collection[str] = ()
    for step in map(str, loc):
        if step not in tags:
            path.append(step)
        tags = PARTS.get(step, ())
    return path


def _named(path: list[str], document: Any) -> list[str]:
    """Return the path with a recipe's field by its flat name, unless the document has the part as an object."""
    match path:
        case ["train", part, field] if part in PARTS:
            train = document.get("train") if isinstance(document, dict) else None
            if isinstance(train, dict) and isinstance(train.get(part), dict):
                return path
            return ["train", flat_name(part, field)]
        case [part, field] if part in PARTS:
            return [flat_name(part, field)]
    return path


def _short(value: object, most: int = 60) -> str:
    """Return a value as it would be typed, cut where nobody reads on."""
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def _known_keys(path: list[str], loc: tuple[int | str, ...]) -> list[str]:
    parts: dict[str, type[Spec]] = {"model": GPT2, "train": TrainSpec, "device": DeviceSpec, "data": DataSpec}
    owner: type[Spec] = RunSpec
    for step in path:
        classes = PARTS.get(step, {})
        owner = next((kind for tag, kind in classes.items() if tag in loc), parts.get(step, owner))
    return list(owner.model_fields)
