"""minimind's training scripts and the MiniMindConfig that they make their model of. Read, never executed.

Read in github.com/jingyaogong/minimind at d65ef2c (2026-08-21) and before 101d7df (2026-03-24), which brought the
norm of queries and keys: model/model_minimind.py, trainer/train_pretrain.py, train_full_sft.py.
"""

from __future__ import annotations

import ast
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.arguments import parsed_arguments, typed_arguments
from fwplan.configs.documents.families import MINIMIND
from fwplan.configs.documents.shared import NO_EXPERTS, resolve
from fwplan.configs.expressions import UnreadableError, Value, evaluate
from fwplan.configs.models import find_module
from fwplan.configs.nodes import nodes
from fwplan.configs.settings import Reading, Setting, Settings, assemble, layer
from fwplan.configs.train_py import parsed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

_CONFIG = "MiniMindConfig"
_TRAINING = {
    "batch_size": "micro_batch_size",
    "max_seq_len": "sequence_length",
    "accumulation_steps": "grad_accum_steps",
    "learning_rate": "learning_rate",
    "grad_clip": "grad_clip",
    "dtype": "dtype",
}
# The width of its feed-forward layer as its two generations write it.
_WIDTHS: Mapping[str, Callable[[int], int]] = {
    "math.ceil(hidden_size * math.pi / 64) * 64": lambda C: math.ceil(C * math.pi / 64) * 64,
    "None": lambda C: -(-int(C * 8 / 3) // 64) * 64,
}
# torch's AdamW as it comes; the loop holds the logits during backward.
_ALWAYS: Mapping[str, Value] = {
    "weight_decay": 0.01,
    "beta2": 0.999,
    "optimizer_impl": "foreach",
    "returns_logits": True,
    "keeps_logits": True,
}
_OWN_CODE = "minimind's own RMSNorm, its copies of logits, keys and values are not counted"


def is_minimind(tree: ast.Module) -> bool:
    """Return whether a script makes or trains minimind's model."""
    imported = any(one.name == _CONFIG for node in nodes(tree, ast.ImportFrom) for one in node.names)
    return imported or any(node.name == _CONFIG for node in nodes(tree, ast.ClassDef))


def read_minimind(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run of a training script, or the model alone of model_minimind.py.

    Raises:
        FwplanError: an argument that the script does not take, or a value that is none.
    """
    reading = Reading(path, "minimind", {})
    model = _model_source(tree, path)
    arguments, defaults = parsed_arguments(tree), dict(_defaults(model))
    own, top = typed_arguments(overrides, dict.fromkeys((*defaults, *arguments), _ANY))
    given = {name: one for name, one in (arguments | own).items() if name in defaults}
    said = _model(reading, _fields(defaults, given, here=model is tree))
    said["qk_norm"] = Setting("q_norm", value=_has_head_norms(model), origin="default")
    if arguments:
        said |= _training(reading, tree, arguments | own)
    if model is None:
        reading.notes.append("its model_minimind.py is not there to be seen: minimind's at d65ef2c is assumed")
    if world_size > 1:
        top.setdefault("world_size", Setting("world_size", world_size, origin="override"))
    reading.settings = layer(said, top)
    resolve(reading, top)
    reading.ask(("micro_batch_size",))
    if not reading.unknown:
        reading.document = assemble(reading.settings, path)
    return reading


_ANY = Setting("")


def _model_source(tree: ast.Module, path: str) -> ast.Module | None:
    """Return the source of the model: the script's own, or that of the module that it imports; None: not to be seen."""
    if any(node.name == _CONFIG for node in nodes(tree, ast.ClassDef)):
        return tree
    found = find_module("model.model_minimind", Path(path))
    return parsed(found) if found is not None else None


def _defaults(model: ast.Module | None) -> Iterator[tuple[str, ast.expr]]:
    """Yield each field of the config with the expression of its default, in the order that it sets them.

    Where its source is not there to be seen they are those of d65ef2c.
    """
    if model is None:
        assumed = {
            name: repr(MINIMIND.defaults[ours]) for name, ours in MINIMIND.fields.items() if ours in MINIMIND.defaults
        }
        assumed["intermediate_size"] = next(iter(_WIDTHS))
        yield from ((name, ast.parse(text, mode="eval").body) for name, text in assumed.items())
        return
    config = next((node for node in nodes(model, ast.ClassDef) if node.name == _CONFIG), None)
    init = next((one for one in config.body if isinstance(one, ast.FunctionDef)), None) if config else None
    if init is None:
        return
    names = [one.arg for one in init.args.args]
    yield from zip(names[len(names) - len(init.args.defaults) :], init.args.defaults, strict=True)
    for node in nodes(ast.Module(init.body, []), ast.Call):
        match node:
            case ast.Call(func=ast.Attribute(attr="get"), args=[ast.Constant(value=str(name)), default]):
                yield name, default
            case _:
                pass


def _fields(defaults: Mapping[str, ast.expr], given: Settings, *, here: bool) -> Settings:
    """Return the config's fields: as given, else their defaults, which may be worked out from those before them."""
    found: Settings = {}

    def lookup(name: str) -> Value:
        if name not in found or found[name].reason is not None:
            raise UnreadableError(f"uses {name}")
        return found[name].value

    for name, node in defaults.items():
        found[name] = given[name] if name in given else _default(name, node, lookup, here=here)
    return found


def _default(name: str, node: ast.expr, lookup: Callable[[str], Value], *, here: bool) -> Setting:
    text, line = ast.unparse(node).replace("self.", ""), node.lineno if here else None
    try:
        if name == "intermediate_size" and text in _WIDTHS:
            width = lookup("hidden_size")
            value: Value = _WIDTHS[text](width) if isinstance(width, int) else None
        else:
            value = evaluate(ast.parse(text, mode="eval").body, lookup)
    except UnreadableError as error:
        return Setting(name, None, line, str(error), "default")
    return Setting(name, value, line, origin="default")


def _model(reading: Reading, fields: Settings) -> Settings:
    """Return the model's fields; what makes it another is refused, what cannot be read is asked for."""
    for name, reason in (("use_moe", NO_EXPERTS), ("dropout", "dropout, which llama has not")):
        setting = fields.get(name, _ANY)
        if setting.value:
            reading.refuse(f"{name} {setting.value!r}", setting.line, reason)
    said: Settings = {"tied_embeddings": Setting("tie_word_embeddings", value=True, origin="default")}
    for name, ours in MINIMIND.fields.items():
        if name in fields:
            said[ours] = fields[name]
            if fields[name].reason is not None:
                reading.miss(name, fields[name], str(fields[name].reason))
    said["architecture"] = Setting("architecture", "llama", origin="default")
    reading.ask(field for field in ("n_layer", "n_head", "n_embd", "n_hidden", "vocab_size") if field not in said)
    return said


def _has_head_norms(model: ast.Module | None) -> bool:
    """Return whether queries and keys are normed; at d65ef2c they are."""
    return model is None or any(node.attr == "q_norm" for node in nodes(model, ast.Attribute))


def _training(reading: Reading, tree: ast.Module, arguments: Settings) -> Settings:
    """Return how the script trains: autocast over fp32 weights, AdamW as torch makes it, logits held by the loop."""
    said = {ours: arguments[name] for name, ours in _TRAINING.items() if name in arguments}
    for name, setting in arguments.items():
        if name in _TRAINING and setting.reason is not None:
            reading.miss(name, setting, setting.reason)
    if sum(getattr(call.func, "id", "") == "init_model" for call in nodes(tree, ast.Call)) > 1:
        reading.refuse("init_model", None, "the script holds several models")
    if any("lora" in str(node.module) for node in nodes(tree, ast.ImportFrom)):
        reading.refuse("lora", None, "low-rank adapters")
    if "dtype" in said and said["dtype"].value != "bfloat16":
        said["dtype"] = replace(said["dtype"], value="float16")  # anything else is
    if _cuts_a_token(tree) and isinstance(said["sequence_length"].value, int):
        said["sequence_length"] = replace(said["sequence_length"], value=said["sequence_length"].value - 1)
    start = arguments.get("from_weight", Setting("from_weight", "none"))
    compiled = arguments.get("use_compile", Setting("use_compile", value=0, origin="default"))
    reading.uncounted.append("minimind's own code")
    reading.notes.append(_OWN_CODE)
    return said | {
        "compile": replace(compiled, value=bool(compiled.value)),
        "init_from": replace(start, value="scratch" if start.value == "none" else start.value),
        **{name: Setting(name, value, origin="default") for name, value in _ALWAYS.items()},
    }


def _cuts_a_token(tree: ast.Module) -> bool:
    """Return whether batches are inputs and targets cut apart, each a token shorter, as they were until 2025."""
    return any(node.id == "loss_mask" for node in nodes(tree, ast.Name))
