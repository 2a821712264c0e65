"""What a script of its own trains, like build-nanogpt's train_gpt2.py: config classes, dicts, constants and calls.

Read in github.com/karpathy/build-nanogpt at several of its commits: a config class's defaults, what the call of it
changes of them, B and T, total_batch_size, torch.compile, autocast, and how its model attends, ties and biases.
Nothing here is nanoGPT's default: what such a script does not say is asked for.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs import modes
from fwplan.configs.declared import Declared, declared, known
from fwplan.configs.expressions import UnreadableError, Value, evaluate
from fwplan.configs.literals import Bindings, read_statements
from fwplan.configs.models import UNSEEN, Model, find_model, makes_model
from fwplan.configs.nanogpt import PRETRAINED, PRETRAINED_CONTEXT, PRETRAINED_VOCAB
from fwplan.configs.nodes import nodes
from fwplan.configs.settings import (
    ASKED,
    HARMLESS_IF_UNKNOWN,
    SHAPE,
    SHAPE_NAMES,
    Reading,
    Setting,
    Settings,
    assemble,
    grad_accum_steps,
    layer,
    read_overrides,
)
from fwplan.configs.top_level import own, top_level
from fwplan.configs.train_py import trains
from fwplan.configs.uncounted import structure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# What plain names of a script are read as; others, such as `loss` or `device`, are variables there.
_NAMES = {"T": "sequence_length", "max_lr": "learning_rate", "mini_batch_size": "micro_batch_size"}
_READ = frozenset(
    {
        *(*SHAPE, "dropout", "micro_batch_size", "sequence_length", "total_batch_size", "grad_accum_steps"),
        *("gradient_accumulation_steps", "max_steps", "warmup_steps", "min_lr", "learning_rate", "weight_decay"),
    }
)
_DECLARED = _READ | {"bias", "tied_embeddings", "init_from"}
_MODES = frozenset({"dtype", "compile"})
_TOTALS = ("batch_size", "train_batch_size")  # of all micro-batches, where something else says how large one is


def is_script(tree: ast.Module) -> bool:
    """Return whether a file is more than settings: it trains, it makes a model, or it declares its settings inside."""
    if trains(tree) or makes_model(tree):
        return True
    names = {node.id for node in nodes(tree, ast.Name) if isinstance(node.ctx, ast.Store)}
    if {"B", "T"} & names and not {"batch_size", "block_size"} & names:
        return True
    if any(name in SHAPE_NAMES and not {key, ASKED.get(key, key)} & names for name in names if (key := known(name))):
        return True  # n_layers, dim: no nanoGPT reads them
    return any(known(one.name) in _READ for one in declared([tree], top_level(tree)))


def read_script(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of the run in such a script; where `unknown` is not empty they are not complete.

    Raises:
        FwplanError: settings that contradict each other or cannot be.
    """
    whole = top_level(tree)
    model = find_model(tree, Path(path))
    trees = [tree] if model.tree in (None, tree) else [model.tree, tree]
    found = declared([one for one in trees if one is not None], whole)
    bindings = read_statements(whole.body, {})
    reading = Reading(path, "script", {})
    reading.notes.append("read as a script of its own: its config classes, dicts and constants")
    others = _settle(reading, found, bindings, whole, model)
    top = read_overrides(overrides, own=others)
    reading.settings = layer(reading.settings, {key: one for key, one in top.items() if key not in others})
    _model(reading, model, trained=trains(tree))
    reading.judge(others | {name: top[name] for name in others if name in top})
    _ask(reading)
    _accumulation(reading, world_size)
    _miss(reading)
    if not reading.unknown:
        _finish(reading)
    return reading


def _settle(
    reading: Reading,
    found: Sequence[Declared],
    bindings: Bindings,
    whole: ast.Module,
    model: Model,
) -> Settings:
    """Settle what the script says; return the settings that are none of ours but may make another model."""
    scope, runs = _Scope(bindings, found), own(whole)
    said, others = _said(found, bindings, scope, runs)
    for key, several in said.items():
        chosen = _chosen(several)
        if not (chosen.reason is None and chosen.value is None):  # vocab_size = None: it is set elsewhere
            reading.settings[key] = chosen
    _loader(reading, whole, scope)
    _pretrained(reading, runs)
    if trains(whole) or model.name is not None:
        reading.settings |= {one.name: one for one in _modes(whole, scope.lookup, model, reading)}
    else:
        for one in found:
            if one.name in _MODES:
                reading.settings[one.name] = scope.read(one.name, one.value)
    return others


def _said(
    found: Sequence[Declared], bindings: Bindings, scope: _Scope, runs: ast.Module
) -> tuple[dict[str, list[tuple[Setting, bool]]], Settings]:
    """Return what is said of each field, with whether a class or a dict declares it; and the settings of no field."""
    said: dict[str, list[tuple[Setting, bool]]] = {}
    others: Settings = {}
    for one in found:
        setting, key = scope.read(one.name, one.value), known(one.name)
        if key in _DECLARED:
            said.setdefault(key, []).append((setting, True))
        elif key is None:
            others.setdefault(one.name, setting)
    sets = {node.id for node in nodes(runs, ast.Name) if isinstance(node.ctx, ast.Store)}
    for name, binding in bindings.names.items():
        key = _NAMES.get(name) or known(name)
        setting = Setting(name, binding.value, binding.line, binding.reason)
        if key in _READ and (binding.reason is None or name in sets):
            said.setdefault(key, []).append((setting, False))
        elif key is None and binding.reason is None and structure(name, binding.value, {}) is not None:
            others.setdefault(name, setting)
    return said, others


class _Scope:
    """The values that a script's names and its configs' fields have: args.n_layer, config["n_layer"], n_layer."""

    def __init__(self, bindings: Bindings, found: Sequence[Declared]) -> None:
        self.bindings = bindings
        self.fields: dict[str, list[ast.expr]] = {}
        for one in found:
            self.fields.setdefault(one.name, []).append(one.value)
        self.inside: set[str] = set()

    def read(self, name: str, node: ast.expr) -> Setting:
        """Return the setting of this name that an expression stands for."""
        return modes.read_name(name, self.plain(node), self.lookup)

    def plain(self, node: ast.expr) -> ast.expr:
        """Return the expression with what it looks up in a config as a plain name."""
        match node:
            case (
                ast.Attribute(value=ast.Name(), attr=str(name))
                | ast.Subscript(value=ast.Name(), slice=ast.Constant(value=str(name)))
            ) if name in self.fields:
                return ast.copy_location(ast.Name(id=f".{name}", ctx=ast.Load()), node)
            case ast.BinOp(left=left, op=op, right=right):
                return ast.copy_location(ast.BinOp(self.plain(left), op, self.plain(right)), node)
            case ast.UnaryOp(op=op, operand=operand):
                return ast.copy_location(ast.UnaryOp(op, self.plain(operand)), node)
            case _:
                return node

    def lookup(self, name: str) -> Value:
        """Return the value of a plain name, or of a config's field where it begins with a dot."""
        if name.startswith("."):
            return self._field(name[1:])
        binding = self.bindings.get(name)
        if binding is None:
            raise UnreadableError(f"uses {name}, which is not set at module level")
        if binding.reason is not None:
            raise UnreadableError(f"uses {name}, unknown since line {binding.line}")
        return binding.value

    def _field(self, name: str) -> Value:
        if name in self.inside or len(self.inside) > 20:
            raise UnreadableError(f"uses {name}, which is set from itself")
        self.inside.add(name)
        try:
            values = []
            for node in self.fields[name]:
                try:
                    values.append(evaluate(self.plain(node), self.lookup))
                except UnreadableError:
                    continue
        finally:
            self.inside.discard(name)
        if not values or any(value != values[0] for value in values):
            raise UnreadableError(f"uses {name} of a config, which is not certain")
        return values[0]


def _chosen(several: Sequence[tuple[Setting, bool]]) -> Setting:
    """Return the one setting of several for one field: the one whose name is the most certain; else it is unknown."""
    if len(several) > 1:
        micro = [one for one in several if one[0].name not in _TOTALS]
        several = micro or several
        declared_ones = [one for one in several if one[1] and one[0].reason is None]
        several = declared_ones or [one for one in several if one[0].reason is None] or several
    (first, _), *rest = several
    for other, _ in rest:
        if (other.value, other.reason) != (first.value, first.reason):
            reason = f"set twice: {first} and {other}"
            return Setting(first.name, None, first.line, reason)
    return first


def _loader(reading: Reading, whole: ast.Module, scope: _Scope) -> None:
    """Settle B and T where they stand in the call of the data loader alone: DataLoaderLite(B=4, T=32)."""
    if "micro_batch_size" in reading.settings:
        return
    orders = dict(_orders(whole.body))
    for call in modes.calls(whole):
        given = dict(zip(orders.get(modes.called(call), ()), call.args, strict=False))
        given |= {one.arg: one.value for one in call.keywords if one.arg}
        if {"B", "T"} <= given.keys() and isinstance(call.func, ast.Name):
            reading.settings["micro_batch_size"] = scope.read("batch_size", given["B"])
            reading.settings["sequence_length"] = scope.read("sequence_length", given["T"])
            return


def _orders(statements: Sequence[ast.stmt]) -> Iterator[tuple[str, list[str]]]:
    """Yield each class of a script with the names of what making one takes, in order."""
    for node in statements:
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                    yield node.name, [one.arg for one in item.args.args[1:]]


def _pretrained(reading: Reading, runs: ast.Module) -> None:
    """Settle the shape of GPT.from_pretrained("gpt2"), where that is what the script makes."""
    makes = [
        call
        for call in modes.calls(runs)
        if isinstance(call.func, ast.Attribute) and call.func.attr == "from_pretrained"
        if isinstance(call.func.value, ast.Name) and call.func.value.id == "GPT"
    ]
    if not makes:
        return
    call = makes[-1]
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    shape = PRETRAINED.get(str(name))
    reason = None if shape else "from_pretrained of a model that is not known"
    sizes = dict(zip(("n_layer", "n_head", "n_embd"), shape or (None, None, None), strict=True))
    for key, value in (sizes | {"vocab_size": PRETRAINED_VOCAB, "context_length": PRETRAINED_CONTEXT}).items():
        reading.settings[key] = Setting(ASKED.get(key, key), value, call.lineno, reason)
    reading.settings["init_from"] = Setting("init_from", str(name), call.lineno)


def _modes(whole: ast.Module, lookup: Callable[[str], Value], model: Model, reading: Reading) -> Iterator[Setting]:
    """Yield how the step runs, as its calls say: compiled, autocast, attention, tying, biases, optimizer."""
    yield modes.compiles(whole.body, lookup)
    yield modes.autocast_dtype(whole, lookup)
    source = model.tree or whole
    yield Setting("attention", modes.attention(source), origin="default")
    if "tied_embeddings" not in reading.settings:
        tie = modes.ties(source)
        yield Setting(
            "tied_embeddings", tie is not None, tie.lineno if tie and source is whole else None, None, "default"
        )
    if "bias" not in reading.settings:
        yield Setting("bias", modes.biases(source), origin="default")
    yield from modes.optimizer(whole if source is whole else ast.Module([*whole.body, *source.body], []))
    clips = any(modes.called(call) == "clip_grad_norm_" for call in modes.calls(whole))
    yield Setting("grad_clip", 1.0 if clips else 0.0, origin="default")
    yield Setting("tf32", value=modes.allows_tf32(whole), origin="default")
    yield Setting("returns_logits", value=True, origin="default")
    yield Setting("keeps_logits", value=True, origin="default")


def _model(reading: Reading, model: Model, *, trained: bool) -> None:
    for what, line, why in model.uncounted:
        reading.refuse(what, line, why)
    if model.assumed:
        reading.assumed = "its model.py is not there to be read: nanoGPT's own is assumed"
    elif model.name is None and trained:
        reading.refuse(*UNSEEN)
    elif model.name is None:
        reading.assumed = "the file makes no model: GPT-2 as nanoGPT writes it is assumed"


def _ask(reading: Reading) -> None:
    """Ask for all that a run needs and the script does not say."""
    settings = reading.settings
    if "context_length" not in settings and "sequence_length" in settings:
        settings["context_length"] = settings.pop("sequence_length")
    reading.ask((*SHAPE, "micro_batch_size", *sorted(_MODES)))


def _miss(reading: Reading) -> None:
    for key, setting in list(reading.settings.items()):
        if setting.reason is None:
            continue
        if key in HARMLESS_IF_UNKNOWN:
            del reading.settings[key]
            reading.notes.append(f"{setting.name} is unknown (line {setting.line}: {setting.reason})")
        else:
            reading.miss(ASKED.get(key, key), setting, setting.reason)


def _accumulation(reading: Reading, world_size: int) -> None:
    """Settle the processes: total_batch_size is over all of them, and grad_accum_steps is computed from it."""
    settings = reading.settings
    settings.setdefault("world_size", Setting("world_size", world_size, origin="default"))
    if settings["world_size"].value != 1 and "parallel" not in settings:
        reading.put("parallel", "ddp", settings["world_size"])
    if "total_batch_size" in settings and "grad_accum_steps" in settings:
        if settings["grad_accum_steps"].origin != "override":
            del settings["grad_accum_steps"]
    elif settings.get("grad_accum_steps", Setting("", 1)).reason is not None:
        reading.notes.append("accumulation is unknown: taken as more than 1, as it would be")
        reading.put("grad_accum_steps", 2, settings["grad_accum_steps"])


def _finish(reading: Reading) -> None:
    settings = reading.settings
    kernel = settings.get("attention")
    if kernel is not None and (kernel.value, kernel.origin, settings["dtype"].value) == ("flash", "default", "float32"):
        reading.put("attention", "efficient", settings["dtype"])
    steps = grad_accum_steps(settings, reading.path)
    if steps is not None:
        settings["grad_accum_steps"] = steps
    reading.document = assemble(settings, reading.path)
