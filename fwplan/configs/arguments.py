"""A script's own arguments: the defaults of its parser, and what the user types for them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from fwplan.configs.declared import parsed
from fwplan.configs.literals import no_names, read_value
from fwplan.configs.modes import read_name
from fwplan.configs.settings import MODEL_FIELDS, Setting, Settings, canonical, read_overrides
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    import ast
    from collections.abc import Sequence

_NAMED = 8  # arguments that an error lists where none is like the one that was typed


def parsed_arguments(tree: ast.Module) -> Settings:
    """Return the arguments of a script's parser by their variables' names, each with its default and line."""
    return {one.name: read_name(one.name, one.value, no_names) for one in parsed(tree)}


def typed_arguments(overrides: Sequence[str], known: Settings) -> tuple[Settings, Settings]:
    """Return what is typed: the script's own arguments, and settings of the run by the names that they have here.

    Both "depth=24" and "--device-batch-size=16" are understood; a switch may be named alone.

    Raises:
        FwplanError: neither the script nor fwplan has a setting of that name.
    """
    own: Settings = {}
    others: list[str] = []
    for override in overrides:
        name, equals, text = override.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if key in known:
            own[key] = Setting(name, read_value(text) if equals else True, origin="override")
        elif canonical(name) is None and name not in MODEL_FIELDS:
            near = difflib.get_close_matches(key[:100], known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join([*known][:_NAMED])}, ..."
            raise FwplanError(f"unknown argument {name[:80]!r}", hint=hint)
        else:
            others.append(override)
    return own, read_overrides(others, own=MODEL_FIELDS)
