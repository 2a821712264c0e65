"""The statements that a script runs when it is started: its own, those under __main__, and its main function's."""

from __future__ import annotations

import ast
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_DEEPEST = 3  # main() calls train() calls ...
_MOST_CALLS = 20  # functions that are followed, so that a hostile file stays small


def top_level(tree: ast.Module) -> ast.Module:
    """Return a script as its statements in the order that they run, with the functions that it merely calls opened up.

    `main()` and `train(batch_size=8)` are; a function whose result is used, or that is called in a loop, is not.
    """
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    opened: list[str] = []

    def run(statements: Sequence[ast.stmt], depth: int) -> Iterator[ast.stmt]:
        for statement in statements:
            call = _bare_call(statement)
            if _is_main(statement) and isinstance(statement, ast.If):
                yield from run(statement.body, depth)
            elif (
                call is not None
                and (function := functions.get(call.func.id))  # type: ignore[attr-defined]
                and depth < _DEEPEST
                and len(opened) < _MOST_CALLS
                and function.name not in opened
            ):
                opened.append(function.name)
                yield from _arguments(function, call)
                yield from run(function.body, depth + 1)
            else:
                yield statement

    statements = [*run(tree.body, 0)]
    return tree if statements == tree.body else ast.Module(statements, [])


@lru_cache(maxsize=4)
def own(script: ast.Module) -> ast.Module:
    """Return what a script itself runs, without its functions and classes."""
    inner = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    return ast.Module([statement for statement in script.body if not isinstance(statement, inner)], [])


def _is_main(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(test=ast.Compare(left=ast.Name(id="__name__"), ops=[ast.Eq()])):
            return True
        case _:
            return False


def _bare_call(statement: ast.stmt) -> ast.Call | None:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name()) as call):
            return call
        case _:
            return None


def _arguments(function: ast.FunctionDef, call: ast.Call) -> Iterator[ast.stmt]:
    """Yield assignments of what a call passes, and of what it leaves at its default."""
    takes = function.args
    names = [one.arg for one in (*takes.posonlyargs, *takes.args)]
    values = dict(zip(names[len(names) - len(takes.defaults) :], takes.defaults, strict=True))
    values |= {one.arg: value for one, value in zip(takes.kwonlyargs, takes.kw_defaults, strict=True) if value}
    values |= dict(zip(names, call.args, strict=False))
    values |= {one.arg: one.value for one in call.keywords if one.arg}
    for name, value in values.items():
        target = ast.copy_location(ast.Name(id=name, ctx=ast.Store()), value)
        yield ast.copy_location(ast.Assign(targets=[target], value=value), value)
