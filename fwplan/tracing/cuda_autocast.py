"""Autocast as on CUDA for fake CPU tensors.

Autocast has other lists for CPU: there exp, log, pow, sum or a norm stay in half precision, and autograd keeps half of
the bytes.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from fwplan.tracing.autocast_policy import op_of, ops_of, policy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fwplan.tracing.autocast_policy import Policy

_HALF = (torch.bfloat16, torch.float16)


@contextmanager
def autocast_as_on_cuda() -> Iterator[None]:
    """Give torch.autocast("cpu") CUDA's lists until the context ends."""
    cuda, cpu = ops_of("cuda"), ops_of("cpu")
    library = torch.library.Library("aten", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that kernels are overridden is what is wanted
        for name in cpu - cuda:
            library.impl(name, torch.library.fallthrough_kernel, "AutocastCPU")
        for name in cuda - cpu:
            library.impl(name, partial(_cast_and_run, op_of(name)), "AutocastCPU")
        for name in cuda & cpu:
            if policy(name, "cuda") != policy(name, "cpu"):  # else torch's own kernel, which caches casts of weights
                library.impl(name, partial(_cast_and_run, op_of(name)), "AutocastCPU")
    try:
        yield
    finally:
        library._destroy()  # noqa: SLF001


def _cast_and_run(op: Any, *args: Any, **kwargs: Any) -> Any:
    """Run an op below autocast, on inputs cast as autocast on CUDA would."""
    how = policy(op.name(), "cuda")
    below = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastCPU)  # noqa: SLF001
    with torch._C._ExcludeDispatchKeyGuard(below):  # noqa: SLF001
        if how == "dtype":
            return _run_in_float32(op, args, kwargs)
        wanted = _CASTS[how](args) if how in _CASTS else None
        return op(*tree_map(partial(_cast, wanted), args), **tree_map(partial(_cast, wanted), kwargs))


def _run_in_float32(op: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an op that takes a dtype: in the caller's, where one is given. F.cross_entropy gives its logits' own."""
    names = [argument.name for argument in op._schema.arguments]  # noqa: SLF001
    if (dict(zip(names, args, strict=False)) | kwargs).get("dtype") is not None:
        return op(*args, **kwargs)
    others = (value for name, value in zip(names, args, strict=False) if name != "dtype")
    return op.overloadpacket(*others, **kwargs | {"dtype": torch.float32})


def _widest(args: Any) -> torch.dtype:
    dtypes = {value.dtype for value in tree_leaves(args) if isinstance(value, Tensor)}
    return torch.float32 if torch.float32 in dtypes else torch.get_autocast_dtype("cpu")


_CASTS: dict[Policy | None, Callable[[Any], torch.dtype]] = {
    "float32": lambda _: torch.float32,
    "lower": lambda _: torch.get_autocast_dtype("cpu"),
    "promote": _widest,
}


def _cast(wanted: torch.dtype | None, value: Any) -> Any:
    """Return a tensor in the wanted dtype; double precision and integers are none of autocast's business."""
    castable = isinstance(value, Tensor) and value.dtype in (torch.float32, *_HALF)
    return value.to(wanted) if wanted is not None and castable else value
