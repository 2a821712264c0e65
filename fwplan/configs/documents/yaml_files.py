"""YAML, read with its lines and without objects, aliases or keys set twice; and which tool's it is: litgpt's."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml

from fwplan.configs.documents.keys import Keys
from fwplan.configs.documents.litgpt import is_litgpt, read_litgpt
from fwplan.configs.documents.shared import typed
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.configs.settings import Reading


def read_yaml(source: str, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run in a YAML file.

    Raises:
        FwplanError: not YAML, or not a file of a tool that is read.
    """
    keys = parse_yaml(source, path)
    if not is_litgpt(keys):
        raise FwplanError(
            f"cannot tell what {path} is: of YAML files litgpt's are read",
            hint="name a model_config.yaml or a pretraining or finetuning config of litgpt",
        )
    return read_litgpt(keys, path, typed(overrides, world_size, path))


class _Loader(yaml.SafeLoader):
    """Plain values alone: an alias may stand for a thousand others, each a thousand more."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "an alias, which is not read", mark)
        return super().compose_node(parent, index)


# YAML 1.1 takes 6e-4 for a text, since it has no point; whoever writes it means a number, and litgpt reads one.
_Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"[-+]?\d+[eE][-+]?\d+$"), list("-+0123456789"))


def parse_yaml(source: str, path: str) -> Keys:
    """Return a YAML mapping's settings by dotted name.

    Raises:
        FwplanError: not YAML, no mapping, or a key set twice; says the line.
    """
    try:
        found = [*_parsed(source, path)]
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise FwplanError(f"not valid YAML: {error.problem}", where=f"{path}:{line}", hint=_HINT) from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else " ".join(str(error).split())[:80]
        raise FwplanError(f"not valid YAML: {message}", where=path, hint=_HINT) from None
    return Keys({name: value for name, value, _ in found}, {name: line for name, _, line in found})


_HINT = "is it the right file?"


def _parsed(source: str, path: str) -> Iterator[tuple[str, Any, int]]:
    """Yield each setting's dotted name, value and line."""
    loader = _Loader(source)
    try:
        root = loader.get_single_node()
        if not isinstance(root, yaml.MappingNode):
            raise FwplanError(f"{path} holds no mapping of settings", hint="it is written `key: value`, a line each")
        yield from _settings(loader, root, path, "")
    finally:
        loader.dispose()


def _settings(loader: _Loader, node: yaml.MappingNode, path: str, prefix: str) -> Iterator[tuple[str, Any, int]]:
    seen: set[str] = set()
    for key, value in node.value:
        name, line = str(loader.construct_object(key)), key.start_mark.line + 1
        if name in seen:
            raise FwplanError(f"{prefix}{name} is set twice", where=f"{path}:{line}", hint="keep one of them")
        seen.add(name)
        if isinstance(value, yaml.MappingNode) and value.value:
            yield from _settings(loader, value, path, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", loader.construct_object(value, deep=True), line
