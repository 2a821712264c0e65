"""nanoGPT's train.py or a fork's own: the defaults under a config file, and what it makes of them. Never executed.

A config file runs inside train.py, at its call of configurator.py: what the file leaves out is that script's default.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fwplan.configs.literals import MAX_SOURCE_BYTES, Binding, Bindings, no_names, parse_python, read_statements
from fwplan.configs.models import UNSEEN, Model, class_fields, find_model, positions
from fwplan.configs.modes import attention, autocast_dtype, compiles, meets
from fwplan.configs.nodes import conditional, nodes
from fwplan.configs.uncounted import OPTIMIZER, uncounted_source
from fwplan.configs.uncounted_steps import other_steps
from fwplan.configs.vocabulary import Vocabulary
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from fwplan.configs.expressions import Value

_HALVES = {"bfloat16", "float16"}
_LEVELS = 3  # folders above a config that its train.py is looked for in
_NOTHING: Mapping[str, Value] = {}
_CHANGED_BY_NANOGPT = frozenset({"gradient_accumulation_steps", "device", "dropout", "config"})


@dataclass(frozen=True)
class TrainPy:
    """A train.py as read.

    Attributes:
        path: the script.
        bindings: its settings, those above its call of configurator.py, and what it makes of those that it lacks.
        ends: the line of that call; None: it makes none.
        changed: its settings that it sets anew below that, whatever a config says of them.
        either_half: dtype is one of the half precisions, as the GPU has it.
        model: what it trains.
        vocabulary: where its model's vocab_size comes from.
        attention: the kernel, where the model's source is there to see.
        context: the name of its setting for the length of the context, where that is to be seen.
    """

    path: Path
    bindings: Bindings
    ends: int | None
    changed: frozenset[str]
    either_half: bool
    model: Model
    vocabulary: Vocabulary
    attention: str | None
    context: str | None


def read_train_py(
    tree: ast.Module, end: int | None, path: Path, defaults: Mapping[str, Value], said: Mapping[str, Value] = _NOTHING
) -> TrainPy:
    """Return what the script sets above statement `end`; `defaults` are the names of nanoGPT's settings.

    Where that is None it takes no config as nanoGPT's does, and nothing that it sets is a default of one. `said` are
    settings that overrule its own: they may decide which model it makes.
    """
    names, either, opaque = {}, False, None
    if end is not None:
        statements = [statement for statement in tree.body[:end] if not _lists_keys(statement)]
        bindings = read_statements(statements, defaults)
        names, opaque = dict(bindings.names), bindings.opaque
        dtype = names.get("dtype")
        either = dtype is not None and dtype.reason is not None and _either_half(statements)
        if dtype is not None and either:
            names["dtype"] = Binding(dtype.line, "bfloat16")
        names |= {name: one for name, one in _lacking(tree) if name not in names}
    values = {name: one.value for name, one in names.items() if one.reason is None} | dict(said)

    def lookup(name: str) -> Value:
        return values[name] if name in values else no_names(name)

    changed = frozenset() if end is None else frozenset(_changed(tree.body[end + 1 :], lookup)) & names.keys()
    values = {name: value for name, value in values.items() if name not in changed}
    model = find_model(tree, path, lookup)
    found = dict([*other_steps(tree), *uncounted_source(tree)])
    optimizers = ((what, line, "the script makes one") for what, line in found.items() if what == OPTIMIZER)
    if model.name is None and trains(tree):
        model = replace(model, uncounted=(UNSEEN,))
    model = replace(model, uncounted=(*model.uncounted, *optimizers))
    if end is not None:
        for said_so in (_passed(tree, model), _model_defaults(model)):
            names |= {name: one for name, one in said_so if name not in names}
    return TrainPy(
        path,
        Bindings(names, opaque),
        None if end is None else tree.body[end].lineno,
        changed,
        either,
        model,
        _vocabulary(tree),
        attention(model.tree) if model.tree is not None else None,
        positions(model.tree) if model.tree is not None else None,
    )


def _lacking(tree: ast.Module) -> Iterator[tuple[str, Binding]]:
    """Yield what the script does where it has no setting for it."""
    compiled, dtype = compiles(tree.body, no_names), autocast_dtype(tree, no_names)
    yield "compile", Binding(compiled.line or 1, compiled.value, compiled.reason)
    yield "dtype", Binding(dtype.line or 1, dtype.value, dtype.reason)
    yield "gradient_accumulation_steps", Binding(1, 1)


def _passed(tree: ast.Module, model: Model) -> Iterator[tuple[str, Binding]]:
    """Yield what the script writes into its one GPTConfig(n_layer=12, ...), and the class's own sizes beside that."""
    made = [call for call in nodes(tree, ast.Call) if isinstance(call.func, ast.Name) and call.func.id == "GPTConfig"]
    if len(made) != 1 or made[0].args or any(one.arg is None for one in made[0].keywords):
        return
    given = {str(one.arg): one.value for one in made[0].keywords}
    fields = class_fields(model.tree, "GPTConfig") if model.tree is not None else {}
    for name, value in (fields | given).items():
        if isinstance(value, ast.Constant) and isinstance(value.value, bool | int | float):
            yield name, Binding(value.lineno, value.value)


def _model_defaults(model: Model) -> Iterator[tuple[str, Binding]]:
    """Yield the model's own defaults of what old train.pys have no setting for."""
    for name, value in class_fields(model.tree, "GPTConfig").items() if model.tree is not None else ():
        if name in {"bias", "dropout"} and isinstance(value, ast.Constant) and isinstance(value.value, bool | float):
            yield name, Binding(value.lineno, value.value)


def _changed(statements: Sequence[ast.stmt], lookup: Callable[[str], Value]) -> Iterator[str]:
    """Yield the names that the script may set below configurator.py, other than nanoGPT's does."""
    for statement, tests in conditional(statements):
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        if tests and meets(tests, lookup).value is False:
            continue
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and node.id not in _CHANGED_BY_NANOGPT:
                yield node.id


def _vocabulary(tree: ast.Module) -> Vocabulary:
    """Return what the script gives its model as vocab_size: the last that it assigns, else the last that it passes.

    Where one of several that it assigns is a variable of its own, which of them is run cannot be told.
    """
    assigned: list[ast.expr] = []
    for node in nodes(tree, ast.Assign):
        match node:
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value="vocab_size"))], value=value):
                assigned.append(value)
            case _:
                pass
    given = [node.value for node in nodes(tree, ast.keyword) if node.arg == "vocab_size" and not _is_none(node.value)]
    last = max(assigned or given, key=lambda one: one.lineno, default=None)
    if last is None:
        return Vocabulary(setting=True)
    if any(_is_its_own(node) for value in assigned for node in ast.walk(value)):
        return Vocabulary()
    names = {node.id for node in ast.walk(last) if isinstance(node, ast.Name)}
    numbers = {node.value for node in ast.walk(last) if isinstance(node, ast.Constant) and type(node.value) is int}
    return Vocabulary(
        any("meta" in name for name in names), "vocab_size" in names, numbers.pop() if len(numbers) == 1 else None
    )


def _is_its_own(node: ast.AST) -> bool:
    """Return whether this is a variable that is neither the data set's, nor the setting, nor a checkpoint's."""
    if not isinstance(node, ast.Name) or node.id in {"vocab_size", "getattr", "max", "int", "len"}:
        return False
    return not any(word in node.id for word in ("meta", "model", "checkpoint"))


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None


def configurator(tree: ast.Module) -> int | None:
    """Return which statement of nanoGPT's train.py runs configurator.py, the end of its settings; None: it is none."""
    for index, statement in enumerate(tree.body):
        match statement:
            case ast.Expr(value=ast.Call(func=ast.Name(id="exec"), args=[argument, *_])):
                names = [node.value for node in ast.walk(argument) if isinstance(node, ast.Constant)]
                if any("configurator" in str(name) for name in names):
                    return index
            case _:
                pass
    return None


def trains(tree: ast.Module) -> bool:
    """Return whether a script trains: it steps backward. sample.py and bench.py's kin take configs too."""
    return any(node.attr == "backward" for node in nodes(tree, ast.Attribute))


def find_train_pys(config: Path) -> list[tuple[Path, ast.Module, int | None]]:
    """Return the training scripts that a config may be run by: train.py beside it or above, else others of its kind.

    Each with its statement that runs configurator.py, or None where it takes no config as nanoGPT's does.
    """
    folder = config.resolve().parent
    for place in [folder, *folder.parents][: _LEVELS + 1]:
        found = [*_scripts(place, config)]
        named = [one for one in found if one[0].name == "train.py"]
        takers = [one for one in found if one[2] is not None]
        if named and named[0][2] is not None:
            return named
        if takers or named:
            return takers or named
        if (place / ".git").exists():
            break
    return []


def _scripts(folder: Path, config: Path) -> Iterator[tuple[Path, ast.Module, int | None]]:
    try:
        paths = sorted(folder.glob("train*.py"))[:20]
    except OSError:
        return
    for path in paths:
        tree = None if path == config.resolve() else parsed(path)
        if tree is not None and trains(tree) and (path.name == "train.py" or configurator(tree) is not None):
            yield path, tree, configurator(tree)


def parsed(path: Path) -> ast.Module | None:
    """Return a Python file's syntax tree; None where it cannot be read."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_SOURCE_BYTES:
            return None
        return parse_python(path.read_text(encoding="utf-8-sig"), str(path))
    except (OSError, ValueError, FwplanError):
        return None


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
