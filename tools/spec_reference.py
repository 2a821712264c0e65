"""Writes docs/spec-reference.md from the specs themselves: `python tools/spec_reference.py`; a test holds it to them.

What a field takes is in its type; what it means is the comment on its line, so neither is written twice.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import textwrap
import tokenize
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from fwplan import RunSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[1] / "docs" / "spec-reference.md"
TITLE = """\
# spec.json, field by field

Written by `python tools/spec_reference.py` from the classes that read it; a test holds it to them. Only what is marked
required must be there; a key that is not listed is refused. A plan.json holds the same under `spec`.

Where there is a choice of objects its name alone will do: `"optimizer": "sgd"`. Files of version 1, which had the
fields of loss, optimizer, parallel and schedule side by side in `train`, are read; `--set` and overrides go on saying
`learning_rate`, `optimizer_impl`, `world_size`, and for what is new its place: `loss.dtype`.
"""
_UNLIMITED = 2**53  # what JSON can hold exactly, so no bound that anybody meets


def page() -> str:
    """Return the whole page."""
    return "\n".join([TITLE, *_section("", RunSpec.model_json_schema(), RunSpec.model_json_schema()["$defs"])])


def _section(path: str, schema: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the table of one class's fields, then the sections of those that are classes themselves."""
    meanings, required = _comments(schema["title"]), schema.get("required", ())
    below: list[tuple[str, dict[str, Any]]] = []
    yield "| field | default | takes | meaning |\n|---|---|---|---|"
    for name, field in sorted(schema["properties"].items(), key=lambda item: "const" not in item[1]):
        parts = [definitions[part] for part in _parts(field)]
        below += [(f"{path}{name}", part) for part in parts]
        default = "required" if name in required else _default(field)
        takes = ", ".join(_link(f"{path}{name}", part) for part in parts) or _takes(field)
        yield f"| `{path}{name}` | {default} | {takes} | {meanings.get(name, '')} |"
    for place, part in below:
        yield f"\n## {_heading(place, part)}\n\n{inspect.cleandoc(part.get('description', ''))}\n"
        yield from _section(f"{place}.", part, definitions)


def _parts(field: dict[str, Any]) -> list[str]:
    """Return the names of the classes that a field may be."""
    options = field.get("oneOf", field.get("anyOf", [field]))
    return [one["$ref"].rpartition("/")[2] for one in options if "$ref" in one]


def _heading(place: str, part: dict[str, Any]) -> str:
    """Return a section's name, with what chooses it where there are several: `train.loss "full"`."""
    chosen = next((field["const"] for field in part["properties"].values() if "const" in field), None)
    return place if chosen is None else f'{place} "{chosen}"'


def _link(place: str, part: dict[str, Any]) -> str:
    heading = _heading(place, part)
    anchor = "".join(sign for sign in heading.lower().replace(" ", "-") if sign.isalnum() or sign in "-_")
    return f"[{heading.removeprefix(place).strip() or 'an object'}](#{anchor})"


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return f"`{json.dumps(default['name'] if isinstance(default, dict) else default)}`"


def _takes(field: dict[str, Any]) -> str:
    """Return what a value may be, in words."""
    if "anyOf" in field:
        return " or ".join(_takes(one) for one in field["anyOf"])
    if values := field.get("enum", [field["const"]] if "const" in field else []):
        return ", ".join(f"`{json.dumps(value)}`" for value in values)
    kind = {"integer": "whole number", "boolean": "true or false", "string": "text"}.get(field["type"], field["type"])
    above, least = field.get("exclusiveMinimum"), field.get("minimum")
    below, most = field.get("exclusiveMaximum"), field.get("maximum")
    limits = {"above": above, "from": least, "below": below, "to": most}
    said = [f"{word} {limit:,}" for word, limit in limits.items() if limit is not None and limit < _UNLIMITED]
    return " ".join([kind, *said])


def _comments(name: str) -> dict[str, str]:
    """Return the comment on each field's line in a spec's class, else in the class that it inherits from."""
    owner = next(one for one in _classes(BaseModel) if one.__name__ == name and one.__module__.startswith("fwplan."))
    found: dict[str, str] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("fwplan."):
            found |= _comments_in(textwrap.dedent(inspect.getsource(base)))
    return found


def _comments_in(source: str) -> dict[str, str]:
    """Return the comments on the lines of fields, or on the one above."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    found = [token for token in tokens if token.type == tokenize.COMMENT]
    comments = {token.start[0]: token.string.lstrip("# ") for token in found}
    alone = {token.start[0] for token in found if token.line.lstrip().startswith("#")}
    fields = (node for node in ast.parse(source).body[0].body if isinstance(node, ast.AnnAssign))  # type: ignore[attr-defined]
    lines = {ast.unparse(node.target): (node.end_lineno, *({node.lineno - 1} & alone)) for node in fields}
    said = {name: next((comments[line] for line in at if line in comments), "") for name, at in lines.items()}
    return {name: re.sub(r"\bNone\b", "null", comment) for name, comment in said.items() if comment}  # as JSON has it


def _classes(base: type) -> Iterator[type]:
    for one in base.__subclasses__():
        yield one
        yield from _classes(one)


if __name__ == "__main__":
    PAGE.write_text(page() + "\n", encoding="utf-8")
