"""The nodes of a syntax tree by their kind, walked once: a script is asked a dozen questions, each of few nodes."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Node = TypeVar("Node", bound=ast.AST)


def nodes(tree: ast.AST, kind: type[Node]) -> Sequence[Node]:
    """Return every node of one kind in a tree, outer ones before inner ones."""
    return _by_kind(tree).get(kind, [])  # type: ignore[return-value]


Tests = tuple[tuple[ast.expr, bool], ...]


def conditional(statements: Sequence[ast.stmt], tests: Tests = ()) -> Iterator[tuple[ast.stmt, Tests]]:
    """Yield the statements that a script may run, each with the conditions that it stands under, and as what."""
    for statement in statements:
        match statement:
            case ast.If(test=test, body=body, orelse=orelse):
                yield from conditional(body, (*tests, (test, True)))
                yield from conditional(orelse, (*tests, (test, False)))
            case ast.With(body=body) | ast.For(body=body) | ast.While(body=body) | ast.Try(body=body):
                yield from conditional(body, tests)
            case _:
                yield statement, tests


@lru_cache(maxsize=8)
def _by_kind(tree: ast.AST) -> dict[type[ast.AST], list[ast.AST]]:
    found: dict[type[ast.AST], list[ast.AST]] = {}
    for node in ast.walk(tree):
        found.setdefault(type(node), []).append(node)
    return found
