"""A step of anybody's script: its model and optimizer are made without memory, then its step is traced.

The script runs, since a model of one's own can be known in no other way; but on the meta device, where tensors have no
data, so that a model larger than this machine is traced too, and nothing is trained.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.overrides import TorchFunctionMode

from fwplan.errors import FwplanError
from fwplan.estimators.overhead import workspaces
from fwplan.tracing.run import trace_module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import ModuleType

    from fwplan.tracing.result import Trace

_NAME = "fwplan_traced_script"
_EXAMPLE = "write: model = ...; optimizer = ...; def step(model, optimizer): ...; or def step(): ... that uses both"
T = TypeVar("T")


class Script(NamedTuple):
    """A script's step, and the globals that it takes: its model, its optimizer, and tensors that lie beside them."""

    path: Path
    module: ModuleType
    step: Callable[..., object]
    takes: tuple[str, ...]  # the names of its arguments, which are globals of the script
    model: str
    optimizer: str | None


def trace_script(
    path: Path, function: str, *, device: Literal["cuda", "cpu"] = "cuda", card: str | None = None
) -> Trace:
    """Return the trace of a function in a script that takes one training step of the script's model.

    Args:
        path: the script; it is run, not as __main__, with every tensor on the meta device.
        function: its step: makes a batch, runs forward, backward and optimizer. Its arguments are named as the globals
            that they stand for, such as step(model, optimizer); without arguments it takes the globals itself.
        device: "cuda" traces a GPU's kernels and allocator, "cpu" this processor's.
        card: the GPU's name, which decides cuBLAS's workspaces; None: of the common ones.

    Raises:
        FwplanError: there is no such file or function, the script fails, or its step cannot be traced.
    """
    with _eager():
        script = _script(path, function)
        found = vars(script.module)
        return trace_module(
            found[script.model],
            _step(script),
            found[script.optimizer] if script.optimizer else None,
            device=device,
            workspace_bytes=int(workspaces(card).point) if device == "cuda" else 0,
        )


@contextmanager
def _eager() -> Iterator[None]:
    """Let torch.compile be no more than its argument: compiled kernels are not torch's ops."""
    torch.compiler.set_stance("force_eager")
    try:
        yield
    finally:
        torch.compiler.set_stance("default")


def _script(path: Path, function: str) -> Script:
    module = _run(path)
    found = vars(module)
    step = found.get(function)
    if not inspect.isfunction(step):
        own = [name for name, value in found.items() if inspect.isfunction(value) and value.__module__ == _NAME]
        known = f"it has {', '.join(own)}" if own else "it has none"
        raise FwplanError(f"no function {function!r} in the script; {known}", where=str(path), hint=_EXAMPLE)
    takes = tuple(inspect.signature(step).parameters)
    missing = [name for name in takes if name not in found]
    if missing:
        raise FwplanError(
            f"{function} takes {', '.join(missing)}, which the script does not define", where=str(path), hint=_EXAMPLE
        )
    model = _one(found, takes, nn.Module, path)
    if model is None:
        raise FwplanError("no module in the script that a step could train", where=str(path), hint=_EXAMPLE)
    return Script(path, module, step, takes, model, _one(found, takes, Optimizer, path))


def _one(found: dict[str, Any], takes: tuple[str, ...], kind: type[T], path: Path) -> str | None:
    """Return the name of the one global of a kind: that which the step takes, else the only one that there is."""
    different = {id(value): name for name, value in found.items() if isinstance(value, kind)}
    names = [name for name in takes if isinstance(found[name], kind)] or list(different.values())
    if len(names) > 1:
        raise FwplanError(
            f"{' and '.join(names)} could each be the one to trace",
            where=str(path),
            hint="give the step arguments: def step(model, optimizer): ...",
        )
    return names[0] if names else None


def _run(path: Path) -> ModuleType:
    """Return the script as a module, every tensor of which is on the meta device."""
    if not path.is_file():
        raise FwplanError("no such script", where=str(path), hint="fwplan trace script.py:step")
    spec = importlib.util.spec_from_file_location(_NAME, path)
    if spec is None or spec.loader is None:
        raise FwplanError("not a Python file", where=str(path), hint="fwplan trace script.py:step")
    module = importlib.util.module_from_spec(spec)
    with ExitStack() as during:
        during.enter_context(patch.dict(sys.modules, {_NAME: module}))
        during.enter_context(patch.object(sys, "path", [str(path.resolve().parent), *sys.path]))
        during.enter_context(torch.device("meta"))
        during.enter_context(_OnMeta())
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            raise _failed("the script fails", error, path) from error
    return module


def _failed(what: str, error: BaseException, path: Path) -> FwplanError:
    return FwplanError(
        f"{what}: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
        where=f"{path}:{_line(error, path)}",
        hint="it is run without data, on the meta device: keep files and .item() for if __name__ == '__main__'",
    )


def _line(error: BaseException, path: Path) -> int:
    """Return the script's own line at which it failed, 1 where it could not even be read."""
    lines, trace = [getattr(error, "lineno", None) or 1], error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            lines.append(trace.tb_lineno)
        trace = trace.tb_next
    return int(lines[-1])


class _OnMeta(TorchFunctionMode):
    """Puts what is meant for any device on the meta device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is Tensor.cuda or func is Tensor.cpu:
            return args[0]
        return func(*(_meta(arg) for arg in args), **{key: _meta(value) for key, value in (kwargs or {}).items()})


def _meta(value: Any) -> Any:
    if isinstance(value, torch.device):
        return torch.device("meta")
    kind = value.split(":")[0] if isinstance(value, str) else None
    return "meta" if kind in {"cuda", "cpu", "mps"} else value


def _step(script: Script) -> Callable[[Any, Any], object]:
    """Return step(model, optimizer), during which the script's globals are what is traced."""
    found = vars(script.module)
    tensors = {name: value for name, value in found.items() if isinstance(value, Tensor)}
    fakes: dict[str, Any] = {}

    def step(model: Any, optimizer: Any) -> object:
        if not fakes:  # once, and where fake tensors are made: a batch that lies beside the step stays
            fakes.update({name: _beside(value) for name, value in tensors.items()})
            fakes.update({name: model for name, value in found.items() if value is found[script.model]})
            if script.optimizer is not None:
                fakes.update({name: optimizer for name, value in found.items() if value is found[script.optimizer]})
        with patch.dict(found, fakes):
            try:
                return script.step(*(found[name] for name in script.takes))
            except (RuntimeError, TypeError, AssertionError):
                raise  # of the ops: the tracer knows what they mean
            except Exception as error:
                raise _failed("the step fails", error, script.path) from error

    return step


def _beside(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, requires_grad=tensor.requires_grad)
