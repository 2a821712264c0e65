"""What autocast does to an op's inputs on a device, asked of torch itself.

The lists live in C++ (aten/src/ATen/autocast_mode.h) and change with torch, so no copy of them is kept: an op is called
under autocast with tensors of no memory, and where it comes to first is the answer. No GPU is needed for CUDA's.
"""

from __future__ import annotations

from functools import cache
from itertools import cycle
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

Policy = Literal["float32", "lower", "promote", "dtype"]
_CAST = "_to_copy"


def ops_of(device: Literal["cuda", "cpu"]) -> set[str]:
    """Return the names of torch's ops that autocast on the device touches, such as "aten::sum.dim_IntList"."""
    registered = torch._C._dispatch_get_registrations_for_dispatch_key(f"Autocast{device.upper()}")  # noqa: SLF001
    return {name for name in registered if name.startswith("aten::")}


def op_of(name: str) -> Any:
    """Return the op of a name that ops_of() gives."""
    packet, _, overload = name.removeprefix("aten::").partition(".")
    return getattr(getattr(torch.ops.aten, packet), overload or "default")


@cache
def policy(name: str, device: Literal["cuda", "cpu"]) -> Policy | None:
    """Return what autocast on the device does to the op's inputs; None: nothing.

    Cast to float32, to the lower precision, or to the widest among them; "dtype": told to compute in float32, unless
    told otherwise.
    """
    op, half, full = op_of(name), torch.bfloat16, torch.float32
    if _first_reached(op, device, (full,)) == (_CAST, half):
        return "lower"
    reached = _first_reached(op, device, (half,))
    if reached is not None and reached[1] is full:
        takes_dtype = any(argument.name == "dtype" for argument in op._schema.arguments)  # noqa: SLF001
        return "float32" if reached[0] == _CAST and not takes_dtype else "dtype"
    return "promote" if _first_reached(op, device, (half, full)) == (_CAST, full) else None


def _first_reached(op: Any, device: str, dtypes: tuple[torch.dtype, ...]) -> tuple[str, torch.dtype | None] | None:
    """Return the op that a call under autocast comes to first, a cast or itself, and its dtype argument."""
    before = torch.is_autocast_enabled(device), torch.get_autocast_dtype(device)
    torch._C._ensureCUDADeviceGuardSet()  # noqa: SLF001  # as FakeTensorMode does: a torch without CUDA has none
    torch.set_autocast_enabled(device, True)
    torch.set_autocast_dtype(device, torch.bfloat16)
    try:
        with torch.no_grad():
            op(*_made_up_arguments(op, device, dtypes))
    except _Reached as reached:
        return reached.op, reached.dtype
    except (RuntimeError, IndexError, ValueError):  # made-up shapes: it comes to that where nothing is cast
        pass
    finally:
        torch.set_autocast_enabled(device, before[0])
        torch.set_autocast_dtype(device, before[1])
    return None


class _Reached(Exception):  # noqa: N818  # an answer, no error
    def __init__(self, op: str, dtype: torch.dtype | None) -> None:
        super().__init__(op)
        self.op, self.dtype = op, dtype


class _Probe(Tensor):
    """A tensor of no memory, on a device that need not exist, that says what torch does with it first."""

    @staticmethod
    def __new__(cls: Any, dtype: torch.dtype, device: str) -> Any:
        where = torch.device(device, 0)
        return Tensor._make_wrapper_subclass(cls, (1, 1), dtype=dtype, device=where)  # noqa: SLF001

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        raise _Reached(func.overloadpacket.__name__, (kwargs or {}).get("dtype"))


_MADE_UP = {"bool": False, "str": "", "int": 1, "number": 1, "float": 1.0, "List[int]": [1]}


def _made_up_arguments(op: Any, device: str, dtypes: tuple[torch.dtype, ...]) -> Iterator[Any]:
    """Yield a call's positional arguments: probes of these dtypes in turn, defaults, or ones."""
    dtype = cycle(dtypes)
    for argument in op._schema.arguments:  # noqa: SLF001
        kind = str(argument.type)
        if "List" in kind and "Tensor" in kind:
            yield [_Probe(next(dtype), device), _Probe(next(dtype), device)]
        elif "Tensor" in kind:
            yield _Probe(next(dtype), device)
        elif not argument.kwarg_only:
            yield argument.default_value if argument.has_default_value() else _MADE_UP.get(kind)
