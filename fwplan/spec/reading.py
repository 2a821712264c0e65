"""From a JSON document to a run, with one clear sentence where it is none."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from fwplan.errors import FwplanError
from fwplan.spec.flat import PARTS, flat_name
from fwplan.spec.run import SCHEMA_VERSION, RunSpec
from fwplan.spec.unions import follow


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
    hint: str = "see docs/spec-reference.md",
    *,
    document: Any = None,
) -> FwplanError:
    """Return pydantic's first complaint as one clear FwplanError, by the names that the document uses."""
    first, *rest = error.errors()
    path, _ = follow(RunSpec, first["loc"])
    field = _named(path, document)
    message = first["msg"].removeprefix("Value error, ")
    if field and first["type"] in {"model_type", "model_attributes_type"}:  # pydantic's own words name a class
        message = "Input should be an object"
    if first["type"] == "extra_forbidden":
        message = f"unknown key {field!r}"
        _, owner = follow(RunSpec, first["loc"][:-1])
        hint = f"known keys there: {', '.join(owner.model_fields)}"
    elif first["type"] == "union_tag_invalid":
        chosen = first["ctx"]["discriminator"].strip("'()")  # a key, or the function that reads it
        chosen = field.rpartition(".")[2] if chosen == "name" else chosen
        message = f"{field}: unknown {chosen} {first['ctx']['tag']!r}"
        hint = f"known there: {first['ctx']['expected_tags']}"
    else:
        shown = "" if isinstance(first["input"], dict) else f" (got {_short(first['input'])})"
        message = f"{field}: {message}{shown}" if field else message
    if rest:
        message += f" (and {len(rest)} more)"
    return FwplanError(message, where=where, hint=hint)


def _named(path: str, document: Any) -> str:
    """Return a field's path with its flat name, unless the document has the recipe's part as an object."""
    match path.split("."):
        case [*section, part, field] if part in PARTS:
            train = document.get("train") if isinstance(document, dict) else None
            if isinstance(train, dict) and isinstance(train.get(part), dict):
                return path
            return ".".join([*section, flat_name(part, field)])
    return path


def _short(value: object, most: int = 60) -> str:
    """Return a value as it would be typed, cut where nobody reads on."""
    shown = repr(value)
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."
