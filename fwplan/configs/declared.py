"""The settings that a script declares other than by plain names: in a class's fields, a dict, a parser's defaults."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, NamedTuple

from fwplan.configs.nodes import nodes
from fwplan.configs.settings import SHAPE_NAMES, canonical
from fwplan.configs.top_level import own

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FEWEST = 2  # settings that a class or a dict has at least to be a run's


class Declared(NamedTuple):
    """One setting as declared: its name, the expression of its value, and in what."""

    name: str
    value: ast.expr
    holder: str


def known(name: str) -> str | None:
    """Return the canonical name of a setting under any name that people give it."""
    return canonical(name) or canonical(SHAPE_NAMES.get(name, ""))


def declared(trees: Sequence[ast.Module], script: ast.Module) -> list[Declared]:
    """Return the settings in classes that the script makes, in dicts that it names, in its parser's defaults.

    A later one of the same holder wins: what a call passes over the class's default. `trees` are the script and where
    its model is defined; what is declared first is what the model is made of.
    """
    found = [*_classes(trees, script), *_dicts(script), *parsed(script)]
    last = {(one.holder, one.name): one for one in found}
    return [*last.values()]


def _classes(trees: Sequence[ast.Module], script: ast.Module) -> Iterator[Declared]:
    classes = {node.name: node for tree in trees for node in tree.body if isinstance(node, ast.ClassDef)}
    configs = {name: fields for name, node in classes.items() if _is_config(fields := fields_of(node))}
    used = [call for call in _calls(script) if call.func.id in configs]  # type: ignore[attr-defined]
    names = {call.func.id for call in used} or (set(configs) if len(configs) == 1 else _looked_up(script, configs))  # type: ignore[attr-defined]
    for name in names:
        yield from (Declared(field, value, name) for field, value in configs[name].items())
    tables = dict(_tables(script)) if used else {}
    for call in used:
        yield from passed(call, [*configs[call.func.id]], tables)  # type: ignore[attr-defined]


def _is_config(fields: dict[str, ast.expr]) -> bool:
    return sum(known(name) is not None for name in fields) >= _FEWEST


def _looked_up(script: ast.Module, configs: dict[str, dict[str, ast.expr]]) -> set[str]:
    """Return the classes that are used without being made: Config.n_layer."""
    return {node.id for node in nodes(script, ast.Name)} & configs.keys()


def _calls(script: ast.Module) -> Iterator[ast.Call]:
    for node in nodes(own(script), ast.Call):
        if isinstance(node.func, ast.Name):
            yield node


def passed(call: ast.Call, order: Sequence[str], tables: Mapping[str, ast.expr]) -> Iterator[Declared]:
    """Yield what a call of a config's class passes: by position, by name, from a dict that stands in the script."""
    holder = getattr(call.func, "id", "")
    for name, value in zip(order, call.args, strict=False):
        yield Declared(name, value, holder)
    for one in call.keywords:
        if one.arg:
            yield Declared(one.arg, one.value, holder)
        elif isinstance(one.value, ast.Name) and one.value.id in tables:
            yield from (Declared(name, value, holder) for name, value in _items(tables[one.value.id]))
        else:
            yield from (Declared(name, one.value, holder) for name in order)


def fields_of(node: ast.ClassDef) -> dict[str, ast.expr]:
    """Return a class's fields with their defaults."""
    found: dict[str, ast.expr] = {}
    for item in node.body:
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                found[name] = value
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                found[name] = value
            case _:
                pass
    return found


def _dicts(script: ast.Module) -> Iterator[Declared]:
    for holder, value in _tables(script):
        items = dict(_items(value))
        if _is_config(items):
            yield from (Declared(name, one, holder) for name, one in items.items())


def _tables(script: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the dicts that a script names."""
    for statement in script.body:
        match statement:
            case (
                ast.Assign(targets=[ast.Name(id=holder)], value=ast.Dict() | ast.Call() as value)
                | ast.AnnAssign(target=ast.Name(id=holder), value=ast.Dict() | ast.Call() as value)
            ):
                yield holder, value
            case _:
                pass


def _items(value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """Yield the entries of {"n_layer": 12} and dict(n_layer=12), those of dicts in them too."""
    match value:
        case ast.Dict(keys=keys, values=values):
            pairs = [(key.value, one) for key, one in zip(keys, values, strict=True) if isinstance(key, ast.Constant)]
        case ast.Call(func=ast.Name(id="dict" | "SimpleNamespace" | "Namespace"), keywords=keywords):
            pairs = [(one.arg, one.value) for one in keywords if one.arg]
        case _:
            return
    for name, one in pairs:
        if isinstance(one, ast.Dict):
            yield from _items(one)
        else:
            yield str(name), one


def parsed(tree: ast.Module) -> Iterator[Declared]:
    """Yield the defaults of an argument parser: parser.add_argument("--batch_size", type=int, default=12)."""
    for call in nodes(tree, ast.Call):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument":
            flags = [str(one.value) for one in call.args if isinstance(one, ast.Constant)]
            long = next((flag for flag in flags if flag.startswith("--")), None)
            default = next((one.value for one in call.keywords if one.arg == "default"), _switch(call.keywords))
            if long is not None and default is not None:
                yield Declared(long[2:].replace("-", "_"), default, "parser")


def _switch(keywords: Sequence[ast.keyword]) -> ast.expr | None:
    """Return what a flag without a value is where it is not given."""
    for one in keywords:
        if one.arg == "action" and isinstance(one.value, ast.Constant) and one.value.value == "store_true":
            return ast.copy_location(ast.Constant(value=False), one.value)
    return None
