"""nanochat's scripts/base_train.py, by its arguments alone or by a copy of the script: read, never executed.

What is worked out from the arguments, and the model itself, are those of 92d63d4 (2026-07-03). Where an older script
can be told, what it does otherwise is refused or named.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.configs.arguments import parsed_arguments, typed_arguments
from fwplan.configs.fingerprint import changed
from fwplan.configs.models import find_module
from fwplan.configs.nanochat.arguments import DEFAULTS, own_defaults
from fwplan.configs.nanochat.run import settle, trained
from fwplan.configs.nodes import nodes
from fwplan.configs.settings import Reading, Settings
from fwplan.configs.train_py import parsed

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMAND = "--nanochat"  # what is typed in place of a file
_OWN = frozenset({"depth", "device_batch_size", "max_seq_len"})
_OLD_RATES = frozenset({"warmup_ratio", "adam_beta1", "adam_beta2"})  # arguments until 2026-03-10
_OLD_MODEL = "before 2026-03-10 nanochat had no smear, no backout, and short windows of half the context"
_AUTOCAST = "until 2026-03-04 nanochat ran under autocast; here each Linear casts its own weight"
# What its model has had since, by the names in nanochat/gpt.py.
_SINCE = {
    "value_embeds": "value embeddings (2026-01-17)",
    "resid_lambdas": "factors of each layer's residual (2026-01-11)",
    "window_sizes": "windows (2026-01-11)",
}
# What makes its model, at 92d63d4.
MODEL = {
    "norm": "544294ea55f2",
    "Linear.forward": "85bcd8ad9c10",
    "has_ve": "c7e0bd6aef9d",
    "apply_rotary_emb": "0fcdd32bd5b6",
    "CausalSelfAttention.__init__": "d7679c9b6d4f",
    "CausalSelfAttention.forward": "ea4fe6129881",
    "MLP.__init__": "64f1beeb1a68",
    "MLP.forward": "4d1885c9eb8c",
    "Block.__init__": "e47522d831a0",
    "Block.forward": "e96494478398",
    "GPT.__init__": "fae3ab7f313c",
    "GPT._compute_window_sizes": "fde010edaa62",
    "GPT.forward": "7cdc57154925",
}


def is_base_train(tree: ast.Module) -> bool:
    """Return whether a script is nanochat's base_train.py: it imports its GPT and takes its settings.

    Until 2026-01-04 they were plain variables.
    """
    imports = any(node.module == "nanochat.gpt" for node in nodes(tree, ast.ImportFrom))
    variables = {node.id for node in nodes(tree, ast.Name) if isinstance(node.ctx, ast.Store)}
    return imports and parsed_arguments(tree).keys() | variables >= _OWN


def read_command(overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run of nanochat's own script with these arguments.

    Raises:
        FwplanError: an argument that it does not take, or values that contradict each other.
    """
    own = own_defaults()
    reading = _read("nanochat", own, overrides, world_size)
    reading.notes.insert(0, "nanochat at 92d63d4 (2026-07-03): its defaults, and what it works out from them")
    return reading


def read_base_train(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the run of a copy of the script, with arguments as it takes them.

    Raises:
        FwplanError: an argument that it does not take, or values that contradict each other.
    """
    theirs = parsed_arguments(tree)
    reading = _read(path, own_defaults() | theirs, overrides, world_size)
    reading.notes.insert(
        0, "what nanochat works out from its arguments, and its model, are those of 92d63d4 (2026-07-03)"
    )
    if "window_pattern" not in theirs:
        reading.refuse("its model", None, "it is nanochat's before 2026-01-11, which is not counted")
        return reading
    for name in sorted(theirs.keys() - own_defaults().keys() - _OLD_RATES):
        reading.pass_over(name, theirs[name].line, theirs[name].value)
    _look_at_age(reading, theirs, tree)
    _look_at_model(reading, path)
    if reading.unknown:
        reading.document = {}
    return reading


def _look_at_age(reading: Reading, theirs: Settings, tree: ast.Module) -> None:
    """Name what the script shows that nanochat has done otherwise since."""
    old = [theirs[name].line for name in sorted(_OLD_RATES & theirs.keys())]
    if old:
        _is_older(reading, f"line {old[0]}")
    cast = [node.lineno for node in nodes(tree, ast.Attribute) if node.attr == "autocast"]
    if cast:
        reading.uncounted.append(f"autocast (line {cast[0]})")
        reading.notes.append(_AUTOCAST)


def _is_older(reading: Reading, place: str) -> None:
    if _OLD_MODEL not in reading.notes:
        reading.uncounted.append(f"an older nanochat ({place})")
        reading.notes.append(_OLD_MODEL)


def _look_at_model(reading: Reading, path: str) -> None:
    """Hold the gpt.py beside the script against 92d63d4's: refuse what it has not, name what is otherwise."""
    source = find_module("nanochat.gpt", Path(path))
    tree = parsed(source) if source is not None else None
    if source is None or tree is None:
        reading.notes.append("its nanochat/gpt.py is not there to be seen")
        return
    names = {node.attr for node in nodes(tree, ast.Attribute)}
    lacking = [what for name, what in _SINCE.items() if name not in names]
    if lacking:
        reading.refuse("its model", None, f"{source.name} has no {', '.join(lacking)}")
        return
    others = [name for name, _ in changed(tree, MODEL)]
    if "smear_gate" not in names:
        _is_older(reading, source.name)
    elif others:
        reading.uncounted.append("its own gpt.py")
        reading.notes.append(f"not as in nanochat at 92d63d4: {', '.join(others)} of {source.name}")


def _read(path: str, known: Settings, overrides: Sequence[str], world_size: int) -> Reading:
    own, top = typed_arguments(overrides, known)
    arguments = known | own
    reading = Reading(path, "nanochat", {})
    for name, setting in arguments.items():
        if setting.reason is not None and name in DEFAULTS:
            reading.miss(name, setting, setting.reason)
    if world_size > 1:
        reading.refuse(
            f"world_size {world_size}", None, "nanochat shares its optimizer's states out in a way of its own"
        )
    if reading.unknown:
        return reading
    return trained(reading, settle(reading, arguments, top), top)
