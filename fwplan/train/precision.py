"""The numeric side of a step: autocast, and the loss scaling that fp16 needs."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import torch

from fwplan.tape.dtypes import DTYPES

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from fwplan.model.modules.decoder import Decoder
    from fwplan.spec import RunSpec
    from fwplan.tape.dtypes import Dtype

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def in_their_types(model: Decoder, spec: RunSpec) -> Decoder:
    """Return the model with each weight, and each buffer that its architecture knows, in the type it is held in."""
    architecture, (weights, products) = spec.model, DTYPES[spec.train.dtype]
    block = re.compile(re.escape(architecture.stack) + r"\.\d+\.")
    for name, weight in model.named_parameters():
        _hold(weight, architecture.held_in(block.sub("", name, count=1), weights, products))
    for name in architecture.buffers(architecture.dims):
        _hold(model.get_buffer(name), architecture.tables_in(products))
    return model


def _hold(tensor: torch.Tensor, dtype: Dtype) -> None:
    tensor.data = tensor.data.to(getattr(torch, dtype.name))


def autocast(spec: RunSpec, device_type: str) -> AbstractContextManager[Any]:
    """Return the context in which the forward runs: autocast for bfloat16 and float16, unless the model casts."""
    dtype = spec.train.dtype
    if dtype not in _AUTOCAST or not spec.model.autocasts:
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=_AUTOCAST[dtype])


def set_matmul_precision(device_type: str, *, tf32: bool) -> None:
    """Let fp32 products on a GPU run in TF32, or in full fp32 as torch does by default."""
    if device_type == "cuda":  # a CPU's fp32 products stay as they are
        torch.set_float32_matmul_precision("high" if tf32 else "highest")


def grad_scaler(dtype: str, device_type: str) -> torch.amp.GradScaler:
    """Return a GradScaler that is active for float16 only: the other dtypes have fp32's range."""
    return torch.amp.GradScaler(device_type, enabled=dtype == "float16")
