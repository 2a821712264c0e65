"""Whether source code is that of a known commit: a digest of each function, blind to comments and layout."""

from __future__ import annotations

import ast
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_LENGTH = 12


def changed(tree: ast.Module, known: Mapping[str, str]) -> list[tuple[str, int | None]]:
    """Return the functions of a table of digests that are others here, each with its line; None: it is not there."""
    functions = dict(_functions(tree.body, ""))
    found = ((name, functions.get(name), digest) for name, digest in known.items())
    return [
        (name, None if node is None else node.lineno)
        for name, node, digest in found
        if node is None or fingerprint(node) != digest
    ]


def fingerprint(node: ast.AST) -> str:
    """Return a digest of what a piece of code does: the same for any layout, comment, docstring or message."""
    return hashlib.sha256("\n".join(_words(node)).encode()).hexdigest()[:_LENGTH]


def _functions(statements: list[ast.stmt], prefix: str) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in statements:
        if isinstance(node, ast.FunctionDef):
            yield f"{prefix}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{node.name}.")


def _words(node: ast.AST) -> Iterator[str]:
    """Yield the kinds of nodes with their names and values, each node's end marked: all Pythons agree on these."""
    match node:
        case ast.Assert() | ast.JoinedStr() | ast.expr_context() | ast.Expr(value=ast.Constant(value=str())):
            return
        case ast.Constant(value=value):
            yield repr(value)
            return
        case _:
            yield type(node).__name__
    yield from (str(getattr(node, name)) for name in ("id", "attr", "arg", "name") if hasattr(node, name))
    for inner in ast.iter_child_nodes(node):
        yield from _words(inner)
    yield "."
