"""Which kind of Python file a config is: nanoGPT's config.py or train.py, or a script of its own."""

from __future__ import annotations

import ast
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fwplan.configs.literals import Bindings, parse_python, read_statements
from fwplan.configs.minimind import is_minimind, read_minimind
from fwplan.configs.nanochat.autoresearch import is_autoresearch, read_autoresearch
from fwplan.configs.nanochat.base_train import is_base_train, read_base_train
from fwplan.configs.nanogpt import DEFAULTS, SAMPLES, read_nanogpt
from fwplan.configs.script import is_script, read_script
from fwplan.configs.settings import own_overrides
from fwplan.configs.train_py import TrainPy, configurator, find_train_pys, parsed, read_train_py, trains
from fwplan.configs.uncounted import switched_off
from fwplan.errors import ExitCode, FwplanError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.configs.settings import Reading


class SeveralScriptsError(FwplanError):
    """Several scripts may run a config, each with defaults of its own; `script` is the first of them."""

    def __init__(self, path: str, scripts: Sequence[str]) -> None:
        self.path, self.scripts, self.script = path, scripts, scripts[0]
        names = ", ".join(Path(script).name for script in scripts)
        super().__init__(
            f"undecidable: which of {names} trains {path}? What it leaves out is theirs",
            hint=f"name it before the config: fwplan explain {shlex.join([self.script, path])}",
            exit_code=ExitCode.UNDECIDABLE,
        )

    def __reduce__(self) -> tuple[type[Self], tuple[str, Sequence[str]]]:
        return type(self), (self.path, self.scripts)


def read_python_file(
    source: str, path: str, overrides: Sequence[str], world_size: int, script: Path | None = None
) -> Reading:
    """Return the settings of the run in a Python file; `script` is the train.py that was named before it.

    Raises:
        FwplanError: not Python, or settings that contradict each other or cannot be.
    """
    tree = parse_python(source, path)
    try:
        return _read(tree, path, overrides, world_size, script)
    except RecursionError:
        raise FwplanError("nested too deeply to read", where=path, hint="write its settings as key = value") from None


def _read(tree: ast.Module, path: str, overrides: Sequence[str], world_size: int, script: Path | None) -> Reading:
    if is_base_train(tree):
        return read_base_train(tree, path, overrides, world_size)
    if is_autoresearch(tree):
        return read_autoresearch(tree, path, overrides, world_size)
    if is_minimind(tree):
        return read_minimind(tree, path, overrides, world_size)
    end = configurator(tree)
    if end is not None and script is None:
        return _read_own(tree, end, path, overrides, world_size)
    if is_script(tree):
        return read_script(tree, path, overrides, world_size)
    run_by = _named(script) if script is not None else _found(path)
    given = DEFAULTS if run_by is None else DEFAULTS | _values(read_train_py(*run_by, DEFAULTS).bindings)
    bindings = read_statements(tree.body, given)
    said = _values(bindings) | {name: one.value for name, one in own_overrides(overrides).items()}
    train_py = None if run_by is None else read_train_py(*run_by, DEFAULTS, said)
    reading = read_nanogpt(bindings, path, overrides, world_size, train_py)
    _judge_model(reading, train_py)
    return reading


def _read_own(tree: ast.Module, end: int, path: str, overrides: Sequence[str], world_size: int) -> Reading:
    """Return the settings above train.py's call of configurator.py, which itself only takes the command line's."""
    said = {name: one.value for name, one in own_overrides(overrides).items()}
    train_py = read_train_py(tree, end, Path(path), DEFAULTS, said)
    if SAMPLES & train_py.bindings.names.keys() and not trains(tree):
        raise FwplanError(f"{path} takes a config, but does not train", hint="name the train.py that does, or a config")
    reading = read_nanogpt(train_py.bindings, path, overrides, world_size, train_py)
    reading.notes.insert(0, f"read as nanoGPT's train.py: its settings end at line {train_py.ends}")
    _judge_model(reading, train_py)
    return reading


def _values(bindings: Bindings) -> dict[str, bool | int | float | str | None]:
    return {name: binding.value for name, binding in bindings.names.items() if binding.reason is None}


_Script = tuple[ast.Module, int | None, Path]


def _named(script: Path) -> _Script:
    tree = parsed(script)
    end = configurator(tree) if tree is not None else None
    if tree is None or end is None:
        raise FwplanError(
            f"{script} is no train.py as nanoGPT's: it runs no configurator.py", hint="name the config alone"
        )
    return tree, end, script


def _found(path: str) -> _Script | None:
    """Return the train.py that a config is run by, as far as it lies beside it or above; None: there is none.

    Raises:
        FwplanError: there are several, or one that takes no configs as nanoGPT's does (exit code 4).
    """
    found = find_train_pys(Path(path))
    if not found:
        return None
    if len(found) > 1:
        raise SeveralScriptsError(path, [os.path.relpath(script) for script, _, _ in found])
    (script, tree, end), *_ = found
    return tree, end, script


def _judge_model(reading: Reading, train_py: TrainPy | None) -> None:
    """Say what of the model that the script trains is not counted, and what is taken for granted of it."""
    if train_py is None:
        return
    off = switched_off({**_values(train_py.bindings), **reading.said})
    for what, line, why in train_py.model.uncounted:
        if what not in off:
            reading.refuse(what, line if reading.path == str(train_py.path) else None, why)
    dtype = reading.settings.get("dtype")
    if train_py.either_half and dtype is not None and (dtype.value, dtype.origin != "override") == ("bfloat16", True):
        reading.notes.append("dtype is bfloat16 or float16, as the GPU has it: the same bytes")
