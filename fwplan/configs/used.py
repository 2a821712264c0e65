"""The classes of a model's source that the model is made of, as far as its settings choose between them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fwplan.configs.expressions import UnreadableError, evaluate
from fwplan.configs.nodes import nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwplan.configs.expressions import Value

# Whoever uses these may find a class by its name's text; vars(config) reads an object.
_BY_TEXT = frozenset({"globals", "locals", "eval", "exec"})
_BY_TEXT_ATTRIBUTES = frozenset({"modules", "__subclasses__"})
_INNER = ast.ClassDef | ast.Import | ast.ImportFrom


def used(tree: ast.Module, name: str, lookup: Callable[[str], Value]) -> ast.Module:
    """Return the source without the classes that its class of this name surely never makes; all of it where in doubt.

    `lookup` gives the settings: of `Block(config) if config.kind == "plain" else Other(config)` one is made.
    """
    if any(node.id in _BY_TEXT for node in nodes(tree, ast.Name)) or any(
        node.attr in _BY_TEXT_ATTRIBUTES for node in nodes(tree, ast.Attribute)
    ):
        return tree
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    rest = [node for node in tree.body if not isinstance(node, _INNER)]
    left = [name, "GPTConfig", *(found for node in rest for found in _names(node, lookup))]
    seen: set[str] = set()
    while left:
        one = left.pop()
        if one in classes and one not in seen:
            seen.add(one)
            left += _names(classes[one], lookup)
    return ast.Module([node for node in tree.body if not isinstance(node, ast.ClassDef) or node.name in seen], [])


def _names(node: ast.AST, lookup: Callable[[str], Value]) -> Iterator[str]:
    """Yield the names in a piece of code, but for branches that the settings surely leave out."""
    match node:
        case ast.Name(id=name):
            yield name
        case ast.IfExp(test=test) | ast.If(test=test) if (met := _met(test, lookup)) is not None:
            yield from _names(test, lookup)
            taken = node.body if met else node.orelse
            for one in taken if isinstance(taken, list) else [taken]:
                yield from _names(one, lookup)
        case _:
            for inner in ast.iter_child_nodes(node):
                yield from _names(inner, lookup)


def _met(test: ast.expr, lookup: Callable[[str], Value]) -> bool | None:
    """Return whether a condition on a config's settings holds: config.kind == "plain"; None: it cannot be told."""
    try:
        match test:
            case ast.Compare(left=left, ops=ops, comparators=[right]):
                test = ast.copy_location(ast.Compare(_plain(left), ops, [right]), test)
            case _:
                test = _plain(test)
        return bool(evaluate(test, lookup))
    except UnreadableError:
        return None


def _plain(node: ast.expr) -> ast.expr:
    """Return a config's setting as a plain name: config.kind, self.config.kind."""
    match node:
        case ast.Attribute(value=ast.Name(id="config") | ast.Attribute(attr="config"), attr=name):
            return ast.copy_location(ast.Name(id=name, ctx=ast.Load()), node)
        case _:
            return node
