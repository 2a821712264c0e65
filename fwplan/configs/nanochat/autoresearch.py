"""autoresearch's train.py: one file, its settings constants that its agents edit in place. Read, never executed.

Read in github.com/karpathy/autoresearch at 228791f. Its model is nanochat's of February 2026, without smear and backout
and under autocast. Since anybody may have edited it, it is held against that commit's, function by function.
"""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.arguments import typed_arguments
from fwplan.configs.fingerprint import changed
from fwplan.configs.literals import DEFINITION, read_statements
from fwplan.configs.nanochat.run import always, built, shape, trained
from fwplan.configs.nodes import nodes
from fwplan.configs.settings import Reading, Setting, Settings
from fwplan.configs.train_py import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.expressions import Value

_SIZES = ("DEPTH", "ASPECT_RATIO", "HEAD_DIM", "WINDOW_PATTERN", "DEVICE_BATCH_SIZE", "TOTAL_BATCH_SIZE")
_RATES = {
    "MATRIX_LR": "optimizer.matrix_learning_rate",
    "UNEMBEDDING_LR": "learning_rate",
    "WEIGHT_DECAY": "weight_decay",
}
_PREPARED: dict[str, Value] = {"MAX_SEQ_LEN": 2048, "VOCAB_SIZE": 8192}  # constants of its prepare.py
# What makes its model, at 228791f.
MODEL = {
    "norm": "544294ea55f2",
    "has_ve": "c7e0bd6aef9d",
    "apply_rotary_emb": "0fcdd32bd5b6",
    "CausalSelfAttention.__init__": "86835be99266",
    "CausalSelfAttention.forward": "e7dc052ce835",
    "MLP.__init__": "f760f39b3719",
    "MLP.forward": "4d1885c9eb8c",
    "Block.__init__": "e47522d831a0",
    "Block.forward": "c1c4ca31d07d",
    "GPT.__init__": "5878fed47589",
    "GPT._compute_window_sizes": "93be7f709064",
    "GPT.forward": "de8bf87b7096",
}
_ABOUT = (
    "autoresearch's model is nanochat's of 2026-02, under autocast and without smear and backout; "
    "counted is nanochat's of 92d63d4 (2026-07-03)"
)


def is_autoresearch(tree: ast.Module) -> bool:
    """Return whether a script is autoresearch's train.py: its data are prepare.py's, its depth is a constant."""
    prepared = any(node.module == "prepare" for node in nodes(tree, ast.ImportFrom))
    names = {node.id for node in nodes(tree, ast.Name)}
    return prepared and {"DEPTH", "DEVICE_BATCH_SIZE"} <= names


def read_autoresearch(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run of such a script, with its constants as they are typed: DEPTH=9.

    Raises:
        FwplanError: neither a constant of it nor a setting, or sizes that no model has.
    """
    reading = Reading(path, "autoresearch", {})
    constants = _constants(tree, path, reading)
    own, top = typed_arguments(overrides, constants)
    constants |= own
    for name in (*_SIZES, *_PREPARED):
        setting = constants.get(name)
        if setting is None or setting.reason is not None:
            line, reason = (setting.line, setting.reason) if setting is not None else (None, None)
            reading.miss(name, Setting(name, line=line), reason or "the script does not set it")
    for name, line in changed(tree, MODEL):
        reading.refuse(name, line, "it is not autoresearch's at 228791f, and what it does is not read")
    if world_size > 1:
        reading.refuse(f"world_size {world_size}", None, "autoresearch trains on one GPU")
    if reading.unknown:
        return reading
    said = _settings(reading, constants)
    return trained(reading, said, top)


def _settings(reading: Reading, constants: Settings) -> Settings:
    names = {"depth": "DEPTH", "aspect_ratio": "ASPECT_RATIO", "head_dim": "HEAD_DIM", "max_seq_len": "MAX_SEQ_LEN"}
    arguments = {name: constants[constant] for name, constant in names.items()}
    arguments["window_pattern"] = constants["WINDOW_PATTERN"]
    said = shape(arguments, constants["VOCAB_SIZE"], reading.path) | always(reading)
    built(said, reading.path)
    reading.notes.append(_ABOUT)
    reading.uncounted.append("autoresearch's own block")
    known = {field: constants[name] for name, field in _RATES.items() if name in constants}
    budget = constants.get("TIME_BUDGET")
    if budget is not None:
        reading.notes.append(f"it trains for {budget.value} seconds, not for a number of steps")
    return said | {
        "dtype": Setting("dtype", "bfloat16", origin="default"),
        "micro_batch_size": constants["DEVICE_BATCH_SIZE"],
        "total_batch_size": constants["TOTAL_BATCH_SIZE"],
        **{field: one for field, one in known.items() if one.reason is None},
    }


def _constants(tree: ast.Module, path: str, reading: Reading) -> Settings:
    """Return the script's constants, over those that it imports from the prepare.py beside it."""
    beside = parsed(Path(path).parent / "prepare.py")
    prepared = {} if beside is None else _capitals(beside)
    if beside is None:
        sizes = ", ".join(f"{name} = {value}" for name, value in _PREPARED.items())
        reading.notes.append(f"its prepare.py is not there to be seen: {sizes} assumed")
        prepared = {name: Setting(name, value, origin="default") for name, value in _PREPARED.items()}
    return {name: replace(one, line=None) for name, one in prepared.items()} | _capitals(tree)


def _capitals(tree: ast.Module) -> Settings:
    bindings = read_statements(tree.body, {})
    return {
        name: Setting(name, one.value, one.line, one.reason)
        for name, one in bindings.names.items()
        if name.isupper() and one.reason != DEFINITION
    }
