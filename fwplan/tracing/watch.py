"""The dispatch mode that sees every op below autograd and enters what it allocates in the ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fwplan.tracing.engine import accumulates_in_place, sole_owner
from fwplan.tracing.scratch import scratch_bytes

if TYPE_CHECKING:
    from fwplan.tracing.ledger import Ledger
    from fwplan.tracing.modules import Whereabouts

_ITEM = torch.ops.aten._local_scalar_dense.default  # noqa: SLF001
_UNSCALE = torch.ops.aten._amp_foreach_non_finite_check_and_unscale_.default

# CUDA's kernel keeps mean and 1/std in fp32 whatever its input is (aten/src/ATen/native/cuda/layer_norm_kernel.cu), the
# processor's in half precision where input and weights are.
_LAYER_NORM = torch.ops.aten.native_layer_norm.default


class Watch(TorchDispatchMode):
    """Runs each op and notes the storages that it makes; enter it inside FakeTensorMode.

    Two ops need an answer that fake tensors cannot give. The engine's in-place additions are done as real tensors would
    have them done. And `.item()` is 1.0, but 0.0 for the flag in which a GradScaler looks for infinities: a traced step
    is a finite one.
    """

    def __init__(self, ledger: Ledger, modules: Whereabouts, device: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ledger = ledger
        self.modules = modules
        self.device = device
        self._alone = sole_owner()
        self._flags: set[int] = set()  # storages of GradScalers' found_inf

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if accumulates_in_place(func, args, self._alone):
            return args[0]
        if func is _ITEM:
            return self._item(args[0])
        if func is _UNSCALE:
            self._flags.add(_identity(args[1]))
        where = self.modules.here()
        name = self.modules.making or _name(func)
        scratch = self.ledger.borrow(f"scratch of {name}", where, scratch_bytes(func, args, self.device))
        result = func(*args, **(kwargs or {}))
        wider = self.device == "cuda" and func is _LAYER_NORM
        for place, tensor in enumerate(tree_leaves(result)):
            if isinstance(tensor, Tensor):
                self.ledger.see(tensor, name, where, 4 // tensor.element_size() if wider and place else 1)
        self.ledger.give_back(scratch)
        return result

    def _item(self, tensor: Tensor) -> complex:
        one = 0.0 if _identity(tensor) in self._flags else 1.0
        return one if tensor.dtype.is_floating_point else int(one)


def _identity(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)  # noqa: SLF001


def _name(func: Any) -> str:
    """Return "mm" for aten.mm.default."""
    return str(func).split(".")[1] if str(func).startswith("aten.") else str(func)
