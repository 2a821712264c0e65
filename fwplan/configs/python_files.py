"""Which kind of Python file a config is: nanoGPT's config.py or train.py, or a script like build-nanogpt's."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fwplan.configs.build_nanogpt import is_build_nanogpt, read_build_nanogpt
from fwplan.configs.literals import Binding, Bindings, parse_python, read_statements
from fwplan.configs.nanogpt import DEFAULTS, read_nanogpt

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.settings import Reading

_HALVES = {"bfloat16", "float16"}


def read_python_file(source: str, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of the run in a Python file.

    Raises:
        FwplanError: not Python, or settings that contradict each other or cannot be.
    """
    tree = parse_python(source, path)
    configurator = _configurator(tree)
    if configurator is not None:
        return _read_train_py(tree, configurator, path, overrides, world_size)
    if is_build_nanogpt(tree):
        return read_build_nanogpt(tree, path, overrides, world_size)
    return read_nanogpt(read_statements(tree.body, DEFAULTS), path, overrides, world_size)


def _configurator(tree: ast.Module) -> int | None:
    """Return which statement of nanoGPT's train.py runs configurator.py, the end of its settings; None: it is none."""
    for index, statement in enumerate(tree.body):
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id="exec"), args=[argument])):
                names = [node.value for node in ast.walk(argument) if isinstance(node, ast.Constant)]
                if any(str(name).endswith("configurator.py") for name in names):
                    return index
            case _:
                pass
    return None


def _read_train_py(tree: ast.Module, end: int, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings above train.py's call of configurator.py, which itself only takes the command line's."""
    settings = [statement for statement in tree.body[:end] if not _lists_keys(statement)]
    bindings = read_statements(settings, DEFAULTS)
    names = dict(bindings.names)
    dtype = names.get("dtype")
    either = dtype is not None and dtype.reason is not None and _either_half(settings)
    if dtype is not None and either:
        names["dtype"] = Binding(dtype.line, "bfloat16")
    reading = read_nanogpt(Bindings(names, bindings.opaque), path, overrides, world_size)
    reading.notes.insert(0, f"read as nanoGPT's train.py: its settings end at line {tree.body[end].lineno}")
    if either and "dtype" not in {override.removeprefix("--").partition("=")[0] for override in overrides}:
        reading.notes.append("dtype is bfloat16 or float16, as the GPU has it: the same bytes")
    return reading


def _lists_keys(statement: ast.stmt) -> bool:
    """Return whether it is train.py's `config_keys = [...]`, which looks through globals() and sets nothing."""
    match statement:
        case ast.Assign(targets=[ast.Name(id="config_keys")]):
            return True
        case _:
            return False


def _either_half(statements: Sequence[ast.stmt]) -> bool:
    """Return whether dtype is one of the two half precisions whatever the condition says."""
    found = False
    for statement in statements:
        match statement:
            case ast.Assign(
                targets=[ast.Name(id="dtype")],
                value=ast.IfExp(body=ast.Constant(value=str(one)), orelse=ast.Constant(value=str(other))),
            ):
                found = {one, other} <= _HALVES
            case ast.Assign(targets=[ast.Name(id="dtype")]):
                found = False
            case _:
                pass
    return found
