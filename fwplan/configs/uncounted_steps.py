"""Source code whose step keeps other tensors than is counted: blocks run again or checkpointed, another optimizer."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from fwplan.configs.nodes import nodes
from fwplan.configs.uncounted import AGAIN, CHECKPOINTED, OPTIMIZER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COUNTED = frozenset({"AdamW", "Adam", "SGD", "AdamW8bit"})
_NO_OPTIMIZERS = frozenset({"OptimizerConfig", "OptimConfig", "OptimizerArgs"})
_OPTIMIZER = re.compile(r"(.*_)?(optim|opt|optimi[sz]er)s?\d?(_.*)?")
_MODULE = "torch.utils.checkpoint"


def other_steps(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield what the source of a model or of a training script does otherwise in a step, each with its line."""
    for function in nodes(tree, ast.FunctionDef):
        if function.name == "forward" and _runs(function.body) > 1:
            yield AGAIN, function.lineno
            break
    yield from _first(CHECKPOINTED, _checkpoints(tree))
    yield from _first(OPTIMIZER, _optimizers(tree))


def _first(what: str, lines: Iterator[int]) -> Iterator[tuple[str, int]]:
    yield from ((what, line) for line in [min(lines, default=0)] if line)


def _runs(statements: Sequence[ast.stmt]) -> int:
    """Return how often the blocks are run, at most: 2 stands for a loop of such loops, of two branches one counts."""
    found = 0
    for index, statement in enumerate(statements):
        match statement:
            case ast.If(body=body, orelse=orelse) if isinstance(body[-1], ast.Return | ast.Raise):
                return found + max(_runs(body), _runs([*orelse, *statements[index + 1 :]]))
            case ast.If(body=body, orelse=orelse):
                found += max(_runs(body), _runs(orelse))
            case ast.For(target=target, body=body) if _calls_any(body, target):
                found += 1
            case ast.For(body=body) | ast.While(body=body):
                found += 2 * _runs(body)
            case ast.With(body=body) | ast.Try(body=body):
                found += _runs(body)
            case _:
                pass
    return found


def _calls_any(body: Sequence[ast.stmt], target: ast.expr) -> bool:
    """Return whether a loop calls what it goes through, or hands it to what calls it: checkpoint(block, x)."""
    names = {node.id for node in ast.walk(target) if isinstance(node, ast.Name)}
    calls = [node for one in body for node in ast.walk(one) if isinstance(node, ast.Call)]
    handed = [call.args[0] for call in calls if call.args and "checkpoint" in ast.unparse(call.func)]
    return any(isinstance(one, ast.Name) and one.id in names for one in [*(call.func for call in calls), *handed])


def _checkpoints(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that call torch.utils.checkpoint, under whatever name it is imported."""
    imported = {
        alias.asname or alias.name
        for node in nodes(tree, ast.ImportFrom)
        if node.module in {_MODULE, "torch.utils"}
        for alias in node.names
        if "checkpoint" in alias.name
    } | {alias.asname for node in nodes(tree, ast.Import) for alias in node.names if alias.name == _MODULE}
    for call in nodes(tree, ast.Call):
        name = ast.unparse(call.func)
        if name.startswith(_MODULE) or name.partition(".")[0] in imported:
            yield call.lineno


def _is_counted(kind: str, call: ast.Call) -> bool:
    """Return whether a class makes no other optimizer: it is counted, wraps one that is, or is none."""
    wrapped = (ast.unparse(one.value).rpartition(".")[2] for one in call.keywords if one.arg == "optimizer_class")
    return kind in _COUNTED | _NO_OPTIMIZERS or any(one in _COUNTED for one in wrapped)


def _optimizers(tree: ast.Module) -> Iterator[int]:
    """Yield the lines that make another optimizer, or AdamW with a state more."""
    for node in nodes(tree, ast.Assign):
        match node:
            case ast.Assign(targets=[ast.Name(id=name) | ast.Attribute(attr=name)], value=ast.Call(func=made) as call):
                kind = made.attr if isinstance(made, ast.Attribute) else getattr(made, "id", "")
                if _OPTIMIZER.fullmatch(name) and kind[:1].isupper() and not _is_counted(kind, call):
                    yield call.lineno
            case _:
                pass
    for keyword in nodes(tree, ast.keyword):
        if keyword.arg == "amsgrad" and isinstance(keyword.value, ast.Constant) and keyword.value.value is True:
            yield keyword.value.lineno
