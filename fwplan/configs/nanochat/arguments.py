"""The arguments of nanochat's base_train.py: its own defaults, a script's, and what is typed."""

from __future__ import annotations

import ast
import difflib
from typing import TYPE_CHECKING

from fwplan.configs.expressions import UnreadableError, Value, evaluate
from fwplan.configs.literals import no_names, read_value
from fwplan.configs.nodes import nodes
from fwplan.configs.settings import MODEL_FIELDS, Setting, Settings, canonical, read_overrides
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# At 92d63d4 (2026-07-03), by the names of its variables; those that name files, logs and samples are harmless.
DEFAULTS: dict[str, Value] = {
    "device_type": "",
    "fp8": False,
    "depth": 20,
    "aspect_ratio": 64,
    "head_dim": 128,
    "max_seq_len": 2048,
    "window_pattern": "SSSL",
    "num_iterations": -1,
    "target_flops": -1.0,
    "target_param_data_ratio": 12,
    "device_batch_size": 32,
    "total_batch_size": -1,
    "matrix_lr": 0.02,
    "weight_decay": 0.28,
    "warmup_steps": 40,
    "final_lr_frac": 0.05,
    "eval_every": 250,
    "eval_tokens": 80 * 524_288,
    "resume_from_step": -1,
}
# Read by nobody here: rates of what is no matrix, other evaluations, names.
HARMLESS: dict[str, Value] = dict.fromkeys(
    (
        *("run", "fp8_recipe", "embedding_lr", "unembedding_lr", "scalar_lr", "warmdown_ratio", "core_metric_every"),
        *("core_metric_max_per_task", "sample_every", "save_every", "model_tag"),
    )
)


def own_defaults() -> Settings:
    """Return nanochat's own arguments."""
    return {name: _default(name, value) for name, value in (DEFAULTS | HARMLESS).items()}


def _default(name: str, value: Value) -> Setting:
    return Setting(name.replace("_", "-"), value, origin="default")


def parsed_arguments(tree: ast.Module) -> Settings:
    """Return the arguments that a script's parser takes, by their variables' names, each with its default and line."""
    return {one.name.replace("-", "_"): one for one in _parsed(tree)}


def _parsed(tree: ast.Module) -> Iterator[Setting]:
    for call in nodes(tree, ast.Call):
        match call:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[*_, ast.Constant(value=str(flag))]):
                given = {one.arg: one.value for one in call.keywords}
                if flag.startswith("--"):
                    yield _argument(flag[2:], given, call.lineno)
            case _:
                pass


def _argument(name: str, given: dict[str | None, ast.expr], line: int) -> Setting:
    action = given.get("action")
    if isinstance(action, ast.Constant) and action.value == "store_true":
        return Setting(name, value=False, line=line)
    if "default" not in given:
        return Setting(name, None, line)
    try:
        return Setting(name, evaluate(given["default"], no_names), line)
    except UnreadableError as error:
        return Setting(name, None, line, str(error))


def typed_arguments(overrides: Sequence[str], known: Settings) -> tuple[Settings, Settings]:
    """Return what is typed: the script's own arguments, and settings of the run by the names that they have here.

    Both "depth=24" and "--device-batch-size=16" are understood; a switch may be named alone.

    Raises:
        FwplanError: neither the script nor fwplan has a setting of that name.
    """
    own: Settings = {}
    others: list[str] = []
    for override in overrides:
        name, equals, text = override.removeprefix("--").partition("=")
        key = name.replace("-", "_")
        if key in known:
            own[key] = Setting(known[key].name, read_value(text) if equals else True, origin="override")
        elif canonical(name) is None and name not in MODEL_FIELDS:
            near = difflib.get_close_matches(key[:100], known, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else f"it takes {', '.join([*known][:8])}, ..."
            raise FwplanError(f"unknown argument {name[:80]!r}", hint=hint)
        else:
            others.append(override)
    return own, read_overrides(others, own=MODEL_FIELDS)
