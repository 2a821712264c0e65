"""What a script like build-nanogpt's train_gpt2.py trains: a GPTConfig class, and constants at module level.

Read in github.com/karpathy/build-nanogpt at several of its commits: the class's defaults, what the call of GPTConfig
changes of them, B and T, total_batch_size, torch.compile, autocast, and how its model attends, ties and biases.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

from fwplan.configs.expressions import UnreadableError, Value, evaluate
from fwplan.configs.literals import Bindings, read_statements
from fwplan.configs.nanogpt import PRETRAINED, PRETRAINED_CONTEXT, PRETRAINED_VOCAB
from fwplan.configs.settings import (
    HARMLESS_IF_UNKNOWN,
    Reading,
    Setting,
    Settings,
    assemble,
    canonical,
    grad_accum_steps,
    layer,
    merge,
    read_overrides,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONFIG_CLASS = "GPTConfig"
_SHAPE = ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")
_NAMES = {"B": "batch_size", "T": "sequence_length", "max_lr": "learning_rate"}
_READ = ("total_batch_size", "grad_accum_steps", "max_steps", "warmup_steps", "min_lr", "weight_decay")


def is_build_nanogpt(tree: ast.Module) -> bool:
    """Return whether the file defines a GPTConfig with sizes, and makes one or loads a pretrained model."""
    return _config_class(tree) is not None and any(_model_calls(tree))


def read_build_nanogpt(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings of the run in such a script; where `unknown` is not empty they are not complete.

    Raises:
        FwplanError: settings that contradict each other or cannot be.
    """
    bindings = read_statements(tree.body, {})
    reading = Reading(path, "build_nanogpt", merge(_script(tree, bindings), path))
    top = read_overrides(overrides)
    reading.settings = layer(reading.settings, top)
    reading.notes.append("read as a script like build-nanogpt's train_gpt2.py: GPTConfig and module-level constants")
    if "micro_batch_size" not in reading.settings:
        reading.settings["micro_batch_size"] = Setting("batch_size", reason="the script sets no B at module level")
    _accumulation(reading, world_size)
    for key, setting in list(reading.settings.items()):
        if setting.reason is None:
            continue
        if key in HARMLESS_IF_UNKNOWN:
            del reading.settings[key]
            reading.notes.append(f"{setting.name} is unknown (line {setting.line}: {setting.reason})")
        else:
            reading.miss(setting.name, setting, setting.reason)
    if not reading.unknown:
        kernel, dtype = reading.settings["attention"], reading.settings["dtype"]
        if (kernel.value, kernel.origin, dtype.value) == ("flash", "default", "float32"):
            reading.put("attention", "efficient", dtype)
        steps = grad_accum_steps(reading.settings, path)
        if steps is not None:
            reading.settings["grad_accum_steps"] = steps
        reading.document = assemble(reading.settings, path)
    return reading


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


def _script(tree: ast.Module, bindings: Bindings) -> Iterator[Setting]:
    """Yield every setting that the script makes, under the names that it goes by elsewhere."""
    lookup = _lookup(bindings)
    shape = {setting.name: setting for setting in _shape(tree, lookup)}
    yield from shape.values()
    for name, binding in bindings.names.items():
        known = _NAMES.get(name, name if name in _READ else None)
        if known is not None and (binding.reason is None or _sets(tree, name)):
            yield Setting(known, binding.value, binding.line, binding.reason)
    if not any(_sets(tree, name) for name in ("B", "T")):
        yield from _loader(tree, lookup)
    yield from _modes(tree, lookup, shape)


def _sets(tree: ast.Module, name: str) -> bool:
    """Return whether module-level code, and no function or class, is what sets a name."""
    return any(
        isinstance(node, ast.Name) and node.id == name and isinstance(node.ctx, ast.Store)
        for statement in tree.body
        if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        for node in ast.walk(statement)
    )


def _lookup(bindings: Bindings) -> Callable[[str], Value]:
    def value(name: str) -> Value:
        binding = bindings.get(name)
        if binding is None:
            raise UnreadableError(f"uses {name}, which is not set at module level")
        if binding.reason is not None:
            raise UnreadableError(f"uses {name}, unknown since line {binding.line}")
        return binding.value

    return value


def _read(name: str, node: ast.expr, lookup: Callable[[str], Value]) -> Setting:
    try:
        return Setting(name, evaluate(node, lookup), node.lineno)
    except UnreadableError as error:
        return Setting(name, None, node.lineno, str(error))
    except RecursionError:
        return Setting(name, None, node.lineno, "nested too deeply to read")


def _config_class(tree: ast.Module) -> ast.ClassDef | None:
    found = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == CONFIG_CLASS]
    if found and any(isinstance(item, ast.AnnAssign) and _target(item) == "n_layer" for item in found[-1].body):
        return found[-1]
    return None


def _target(node: ast.AnnAssign) -> str | None:
    return node.target.id if isinstance(node.target, ast.Name) else None


def _model_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """Yield, of module-level code, the calls that decide the model's shape: GPTConfig(...), X.from_pretrained(...)."""
    for statement in tree.body:
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for node in ast.walk(statement):
            match node:
                case ast.Call(func=ast.Name(id=name)) if name == CONFIG_CLASS:
                    yield node
                case ast.Call(func=ast.Attribute(attr="from_pretrained", value=ast.Name(id="GPT"))):
                    yield node
                case _:
                    pass


def _shape(tree: ast.Module, lookup: Callable[[str], Value]) -> Iterator[Setting]:
    """Yield the model's sizes: the class's defaults, under what the call changes of them."""
    config = _config_class(tree)
    fields = [node for node in config.body if isinstance(node, ast.AnnAssign)] if config else []
    order = [name for node in fields if (name := _target(node))]
    found = {
        name: _read(name, node.value, lookup) for node in fields if (name := _target(node)) and node.value is not None
    }
    *_, call = _model_calls(tree)
    if isinstance(call.func, ast.Attribute):
        yield from _pretrained(call)
        return
    given = dict(zip(order, call.args, strict=False)) | {one.arg: one.value for one in call.keywords if one.arg}
    found |= {name: _read(name, node, lookup) for name, node in given.items()}
    for name in _SHAPE:
        if any(one.arg is None for one in call.keywords):
            yield Setting(name, None, call.lineno, "GPTConfig(**...) is not read")
        else:
            yield found.get(name, Setting(name, None, call.lineno, f"{CONFIG_CLASS} sets no {name}"))
    yield from (found[name] for name in found if name not in _SHAPE and canonical(name))


def _pretrained(call: ast.Call) -> Iterator[Setting]:
    name = call.args[0].value if call.args and isinstance(call.args[0], ast.Constant) else None
    shape = PRETRAINED.get(str(name))
    reason = None if shape else "from_pretrained of a model that is not known"
    sizes = dict(zip(("n_layer", "n_head", "n_embd"), shape or (None, None, None), strict=True))
    for key, value in (sizes | {"vocab_size": PRETRAINED_VOCAB, "block_size": PRETRAINED_CONTEXT}).items():
        yield Setting(key, value, call.lineno, reason)
    yield Setting("init_from", str(name), call.lineno)


def _loader(tree: ast.Module, lookup: Callable[[str], Value]) -> Iterator[Setting]:
    """Yield B and T where they stand in the call of the data loader alone: DataLoaderLite(B=4, T=32)."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Name(), keywords=keywords) if {"B", "T"} <= {one.arg for one in keywords}:
                yield from (_read(_NAMES[one.arg], one.value, lookup) for one in keywords if one.arg in {"B", "T"})
                return
            case _:
                pass


def _modes(tree: ast.Module, lookup: Callable[[str], Value], shape: Settings) -> Iterator[Setting]:
    """Yield how the step runs, as its calls say: compiled, autocast, attention, tying, biases, optimizer."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    names = {_called(call) for call in calls}
    yield _compiled(tree, lookup)
    yield _autocast(calls)
    flash = "scaled_dot_product_attention" in names
    yield Setting("attention", "flash" if flash else "math", origin="default")
    ties = [node for node in ast.walk(tree) if isinstance(node, ast.Assign) and _ties(node)]
    yield Setting("tied_embeddings", bool(ties), ties[0].lineno if ties else None, origin="default")
    if "bias" not in shape:
        linear = [call for call in calls if _called(call) == "Linear"]
        biased = sum(1 for call in linear if not any(one.arg == "bias" for one in call.keywords))
        yield Setting("bias", biased > 1, origin="default")  # the head alone has none in any of them
    fused = any(one.arg == "fused" for call in calls if _called(call) == "AdamW" for one in call.keywords)
    yield Setting("optimizer_impl", "fused" if fused else "foreach", origin="default")
    yield Setting("grad_clip", 1.0 if "clip_grad_norm_" in names else 0.0, origin="default")
    yield Setting("tf32", value=any(_allows_tf32(node) for node in ast.walk(tree)), origin="default")
    yield Setting("returns_logits", value=True, origin="default")
    yield Setting("keeps_logits", value=True, origin="default")


def _called(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _allows_tf32(node: ast.AST) -> bool:
    """Return whether this turns TF32 on: set_float32_matmul_precision("high"), or allow_tf32 = True."""
    match node:
        case ast.Call(args=[ast.Constant(value="high" | "medium")]) if _called(node) == "set_float32_matmul_precision":
            return True
        case ast.Assign(targets=[ast.Attribute(attr="allow_tf32")], value=ast.Constant(value=True)):
            return True
        case _:
            return False


def _compiled(tree: ast.Module, lookup: Callable[[str], Value]) -> Setting:
    """Return whether the script compiles: unconditionally, or under a switch whose value is known."""
    for statement in tree.body:
        here = [node for node in ast.walk(statement) if isinstance(node, ast.Call) and _is_compile(node)]
        if here and isinstance(statement, ast.If):
            return _read("compile", statement.test, lookup)
        if here:
            return Setting("compile", value=True, line=here[0].lineno)
    return Setting("compile", value=False, origin="default")


def _is_compile(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(attr="compile", value=ast.Name(id="torch")):
            return True
        case _:
            return False


def _autocast(calls: Sequence[ast.Call]) -> Setting:
    for call in calls:
        if _called(call) == "autocast":
            for one in call.keywords:
                if one.arg == "dtype" and isinstance(one.value, ast.Attribute):
                    return Setting("dtype", one.value.attr, call.lineno)
            return Setting("dtype", None, call.lineno, "autocast without a dtype that can be read")
    return Setting("dtype", "float32", origin="default")


def _ties(node: ast.Assign) -> bool:
    """Return whether an assignment shares the embedding's weight with the head's."""
    match node:
        case ast.Assign(targets=[ast.Attribute(attr="weight")], value=ast.Attribute(attr="weight")):
            return True
        case _:
            return False
