"""Which model a script trains, and what of it is not counted: its class, where that is defined, how it is written."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.literals import MAX_SOURCE_BYTES, no_names, parse_python
from fwplan.configs.modes import meets
from fwplan.configs.nodes import conditional, nodes
from fwplan.configs.uncounted import uncounted_source
from fwplan.configs.uncounted_steps import other_steps
from fwplan.configs.used import used
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwplan.configs.expressions import Value

_MODEL_NAMES = frozenset({"model", "gpt", "net", "m", "raw_model", "gpt_model", "lm", "transformer", "my_model"})
_STAYS = frozenset({"to", "cuda", "cpu", "train", "eval", "float", "half", "bfloat16", "from_pretrained", "apply"})
# How GPT-2's checkpoint, nanoGPT, build-nanogpt and transformers name its parts: who keeps to it has its structure.
_PARTS = frozenset({"c_attn", "c_proj", "c_fc", "wte", "wpe", "ln_f"})
_WIDTHS = {"c_attn": 3, "c_fc": 4}
_LEVELS = 3  # folders above a script's own that its imports are looked for in


@dataclass(frozen=True)
class Model:
    """The model of a script: where its source is (None: not to be seen), and what of it is not counted."""

    name: str | None = None  # its class
    line: int | None = None
    tree: ast.Module | None = None
    uncounted: tuple[tuple[str, int | None, str], ...] = field(default=())  # (what, line, why), the line of the script
    assumed: bool = False  # nanoGPT's own model.py, which is not there


UNSEEN = ("its model", None, "it is made where it cannot be followed")


def find_model(tree: ast.Module, path: Path, lookup: Callable[[str], Value] = no_names) -> Model:
    """Return the model that a script makes; one without a name where it makes none.

    `lookup` gives the values of settings: what stands under a condition that they do not meet is not made.
    """
    made = dict(sorted(_made(tree, lookup), key=lambda one: -one[1]))  # class -> the first line that makes one
    if not made:
        return Model()
    (name, line), *others = sorted(made.items(), key=lambda one: one[1])
    if others:
        names = ", ".join(other for other, _ in others[:3])
        return Model(name, line, uncounted=((f"model = {name}(...)", line, f"or {names}: which of them is not read"),))
    if any(node.name == name for node in nodes(tree, ast.ClassDef)):
        return Model(name, line, tree, tuple(_differences(tree, "")))
    return _imported_model(name, line, _imported(tree, name), path, lookup)


def _imported_model(name: str, line: int, module: str | None, path: Path, lookup: Callable[[str], Value]) -> Model:
    """Return the model whose class a script imports; `module` is None where it does not."""
    if module is None:
        return Model(name, line, uncounted=((f"model = {name}(...)", line, UNSEEN[2]),))
    source = find_module(module, path)
    if source is not None:
        found = _parsed(source)
        if found is not None and any(isinstance(node, ast.ClassDef) and node.name == name for node in found.body):
            made = used(found, name, lookup)
            if _PARTS & _named(found) - _named(made):  # GPT-2's own parts would be left out: not followed rightly
                made = found
            return Model(name, line, found, tuple(_differences(made, f"{source.name}: ")))
        return Model(name, line, uncounted=((name, line, f"{source.name} does not define it where it can be read"),))
    if (module, name) == ("model", "GPT"):
        return Model(name, line, assumed=True)
    return Model(name, line, uncounted=((name, line, f"the model of {module} is not nanoGPT's GPT"),))


def makes_model(tree: ast.Module) -> bool:
    """Return whether a script makes a model."""
    return any(True for _ in _made(tree, no_names))


def _made(tree: ast.Module, lookup: Callable[[str], Value]) -> Iterator[tuple[str, int]]:
    """Yield the classes whose instances, or pretrained instances, are called the model."""
    conditions = {id(one): tests for one, tests in conditional(tree.body)}
    for node in nodes(tree, ast.Assign):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call() as call) if target in _MODEL_NAMES:
                name = _class_called(call)
                never = meets(conditions.get(id(node), ()), lookup).value is False
                if name is not None and name != "cls" and not never:
                    yield name, node.lineno
            case _:
                pass


def _class_called(call: ast.Call) -> str | None:
    """Return the class in `GPT(...)`, `GPT(...).to(x)`, `GPT.from_pretrained(...)`; None for what wraps a model."""
    if any(isinstance(one, ast.Name) and one.id in _MODEL_NAMES for one in call.args):
        return None
    match call.func:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Call() as inner, attr=attr) if attr in _STAYS:
            return _class_called(inner)
        case ast.Attribute(value=ast.Name(id=name), attr=attr) if attr in _STAYS and name not in _MODEL_NAMES:
            return name
        case ast.Attribute(value=ast.Name(), attr=name) if name[:1].isupper():
            return name
        case _:
            return None


def _imported(tree: ast.Module, name: str) -> str | None:
    for node in nodes(tree, ast.ImportFrom):
        if any((one.asname or one.name) == name for one in node.names):
            return node.module or "."
    return None


def find_module(module: str, path: Path) -> Path | None:
    """Return the file of a module that a script imports: beside it, or beside a folder that it may be started in."""
    inner = Path(*[part for part in module.split(".") if part])
    for folder in [path.resolve().parent, *path.resolve().parents][1 : _LEVELS + 1]:
        for file in (folder / inner.with_suffix(".py"), folder / inner / "__init__.py"):
            try:
                if file.is_file():
                    return file
            except OSError:
                continue
    return None


def _parsed(path: Path) -> ast.Module | None:
    try:
        raw = path.read_bytes()
        return parse_python(raw.decode("utf-8-sig"), str(path)) if len(raw) <= MAX_SOURCE_BYTES else None
    except (OSError, UnicodeDecodeError, FwplanError):
        return None


def _differences(tree: ast.Module, place: str) -> Iterator[tuple[str, int | None, str]]:
    """Yield what the source of a model has otherwise than GPT-2: what is not counted, or parts of other names."""
    said = dict(uncounted_source(tree))
    for family, line in {**dict(other_steps(tree)), **said}.items():
        yield family, None if place else line, f"{place}line {line}" if place else "its own source has it"
    missing = sorted(_PARTS - _named(tree))
    if missing:
        yield "its model", None, f"{place}it is not written as nanoGPT writes GPT-2: it has no {', '.join(missing)}"
    for node in nodes(tree, ast.Assign):
        match node:
            case ast.Assign(targets=[ast.Attribute(attr=part)], value=ast.Call(args=[_, width, *_])) if part in _WIDTHS:
                if not _is_times(width, _WIDTHS[part]):
                    yield (
                        part,
                        None if place else node.lineno,
                        f"{place}GPT-2's is {_WIDTHS[part]} widths",
                    )
            case _:
                pass


def _is_times(width: ast.expr, factor: int) -> bool:
    """Return whether a width is written as GPT-2's: 4 * n_embd."""
    match width:
        case ast.BinOp(op=ast.Mult(), left=ast.Constant(value=number), right=ast.Name() | ast.Attribute()):
            return number == factor
        case ast.BinOp(op=ast.Mult(), left=ast.Name() | ast.Attribute(), right=ast.Constant(value=number)):
            return number == factor
        case _:
            return False


def _named(tree: ast.Module) -> set[str]:
    names = {node.attr for node in nodes(tree, ast.Attribute)} | {str(node.arg) for node in nodes(tree, ast.keyword)}
    return names | {node.value for node in nodes(tree, ast.Constant) if isinstance(node.value, str)}


def class_fields(tree: ast.Module, name: str | None = None) -> dict[str, ast.expr]:
    """Return the fields with defaults of the class of that name, or of the first one that has sizes."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and name in (None, node.name):
            found = dict(_fields(node))
            if name is not None or "n_layer" in found:
                return found
    return {}


def _fields(node: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for item in node.body:
        match item:
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                yield name, value
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                yield name, value
            case _:
                pass


def positions(tree: ast.Module) -> str | None:
    """Return the name of the setting that a model's table of positions is as long as: block_size, n_ctx."""
    for node in ast.walk(tree):
        match node:
            case (
                ast.keyword(arg="wpe", value=ast.Call(args=[ast.Attribute(attr=name), *_]))
                | ast.Assign(targets=[ast.Attribute(attr="wpe")], value=ast.Call(args=[ast.Attribute(attr=name), *_]))
            ):
                return name
            case _:
                pass
    return None
