"""Copies of a model and its optimizer on fake tensors: shapes and dtypes without memory."""

from __future__ import annotations

import copy
import copyreg
from itertools import chain
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.optim import Optimizer

    from fwplan.tracing.modules import Whereabouts


def faked(model: nn.Module, optimizer: Optimizer | None, modules: Whereabouts) -> tuple[nn.Module, Optimizer | None]:
    """Return deep copies whose tensors are fake and on "cpu"; tied weights stay tied. Enter FakeTensorMode before.

    The originals may be anywhere, the meta device too, and are left as they are.
    """
    fakes: dict[int, Any] = {}
    for what, name, tensor in _tensors(model, optimizer):
        if id(tensor) not in fakes:
            with modules.make(what, name):
                fakes[id(tensor)] = _fake(tensor)
    # a generator cannot be copied, nor does a fake draw from it: the string has copy take the very object
    with patch.dict(copyreg.dispatch_table, {torch.Generator: lambda _: "shared"}):
        copied: tuple[nn.Module, Optimizer | None] = copy.deepcopy((model, optimizer), fakes)
    return copied


def _tensors(model: nn.Module, optimizer: Optimizer | None) -> Iterator[tuple[str, str, Tensor]]:
    yield from (("weight", name, tensor) for name, tensor in model.named_parameters())
    yield from (("buffer", name, tensor) for name, tensor in model.named_buffers())
    if optimizer is None:
        return
    yield from (("weight", "", tensor) for group in optimizer.param_groups for tensor in group["params"])
    states = chain.from_iterable(state.items() for state in optimizer.state.values())
    yield from (("optimizer state", name, value) for name, value in states if isinstance(value, Tensor))


def _fake(tensor: Tensor) -> Tensor:
    fake = torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="cpu")
    return nn.Parameter(fake, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else fake
