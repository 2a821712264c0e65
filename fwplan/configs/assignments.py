"""What an assignment sets to what: names, chains of them, and sequences that are unpacked element by element."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


def assignment(node: ast.stmt) -> tuple[list[ast.expr], ast.expr | None]:
    """Return what a plain assignment sets and to what, `x = (y := 4)` and a lone `(y := 4)` too."""
    targets: list[ast.expr] = []
    value: ast.expr | None = None
    match node:
        case ast.Assign(targets=several, value=value):
            targets = list(several)
        case ast.AnnAssign(target=target, value=ast.expr() as value):
            targets = [target]
        case ast.Expr(value=ast.NamedExpr() as value):
            pass
        case _:
            return [], None
    while isinstance(value, ast.NamedExpr):
        targets.append(value.target)
        value = value.value
    return targets, value


def pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr | str]]:
    """Yield each name of a target with the expression that it is set to, or the reason why that cannot be told."""
    match target, value:
        case ast.Name(id=name), _:
            yield name, value
        case ((ast.Tuple(elts=targets) | ast.List(elts=targets)), (ast.Tuple(elts=values) | ast.List(elts=values))):
            if any(isinstance(one, ast.NamedExpr | ast.Starred) for one in ast.walk(value)):
                yield from (
                    (name, "unpacked from a sequence that sets names or unpacks another") for name in _stored(target)
                )
            else:
                yield from _unpacked(target, targets, values)
        case ((ast.Tuple() | ast.List()), _):
            yield from ((name, "unpacked from a sequence, which is not read") for name in _stored(target))
        case _:
            pass


def _unpacked(
    target: ast.expr, targets: Sequence[ast.expr], values: Sequence[ast.expr]
) -> Iterator[tuple[str, ast.expr | str]]:
    star = next((index for index, one in enumerate(targets) if isinstance(one, ast.Starred)), None)
    if len(values) < len(targets) - 1 or (star is None and len(values) != len(targets)):
        yield from ((name, "unpacked from a sequence of another length") for name in _stored(target))
        return
    for index, one in enumerate(targets):
        if isinstance(one, ast.Starred):
            yield from ((name, "a list, which is not read") for name in _stored(one))
        else:
            yield from pairs(one, values[index if star is None or index < star else index - len(targets)])


def _stored(target: ast.expr) -> Iterator[str]:
    for inner in ast.walk(target):
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
            yield inner.id
