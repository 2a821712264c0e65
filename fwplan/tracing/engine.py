"""Which additions autograd would do in place on real tensors, though it does not under a dispatch mode.

Where two gradients meet, autograd's engine adds the second into the first if it alone holds that one. Under any
dispatch mode it refuses (at::isTensorSubclassLike is then true of every tensor) and takes a third tensor: for a tied
embedding that is one of shape (V, C) too many. The same question is asked here of the reference counts.
"""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_ADD = torch.ops.aten.add.Tensor


def accumulates_in_place(func: Any, args: Sequence[Any], alone: tuple[int, int]) -> bool:
    """Return whether this call, seen in a dispatch mode, is the engine adding into a gradient that it alone holds.

    alone: sole_owner(), asked before any mode is entered.
    """
    if func is not _ADD or len(args) != 2 or not _called_by_engine():
        return False
    return all(count <= most for count, most in zip(_references(args[0]), alone, strict=True))


def _called_by_engine() -> bool:
    """Return whether the engine itself calls, not a forward, nor the backward of a custom autograd.Function."""
    if torch._C._current_graph_task_id() == -1:  # noqa: SLF001  # no backward is running
        return False
    frame = sys._getframe(1)  # noqa: SLF001
    while frame is not None:
        code = frame.f_code
        if code.co_name == "_engine_run_backward":
            return True
        if code.co_name == "apply" and code.co_filename.endswith("function.py"):
            return False
        frame = frame.f_back  # type: ignore[assignment]
    return False


def _references(tensor: Tensor) -> tuple[int, int]:
    """Return how many hold the tensor, and its storage: a view's base does, and autograd keeps the base of a view."""
    return tensor._use_count(), torch._C._storage_Use_Count(tensor.untyped_storage()._cdata)  # type: ignore[attr-defined]  # noqa: SLF001


@cache
def sole_owner() -> tuple[int, int]:
    """Return the counts that mean "the engine alone", as seen from a dispatch mode of this torch: found by trying."""
    probe = _Probe()  # type: ignore[no-untyped-call]
    with torch.autograd.set_multithreading_enabled(mode=False), torch.enable_grad(), probe:
        shared = torch.zeros(2, requires_grad=True).exp()
        (shared.sin() + shared.cos()).sum().backward()
    return probe.seen


class _Probe(TorchDispatchMode):
    """Looks at the one addition of gradients in a graph that has one."""

    seen = (0, 0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is _ADD and _called_by_engine():
            self.seen = _references(args[0])
        return func(*args, **(kwargs or {}))
