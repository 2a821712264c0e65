"""The numeric side of a step: autocast, and the loss scaling that fp16 needs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

_AUTOCAST = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def weight_dtype(dtype: str) -> torch.dtype:
    """Return the dtype that weights, gradients and moments are stored in."""
    return torch.bfloat16 if dtype == "pure_bfloat16" else torch.float32


def autocast(dtype: str, device_type: str) -> AbstractContextManager[Any]:
    """Return the context in which the forward runs: autocast for bfloat16 and float16, else nothing."""
    if dtype not in _AUTOCAST:
        return contextlib.nullcontext()
    return torch.autocast(device_type, dtype=_AUTOCAST[dtype])


def set_matmul_precision(device_type: str, *, tf32: bool) -> None:
    """Let fp32 products on a GPU run in TF32, or in full fp32 as torch does by default."""
    if device_type == "cuda":  # a CPU's fp32 products stay as they are
        torch.set_float32_matmul_precision("high" if tf32 else "highest")


def grad_scaler(dtype: str, device_type: str) -> torch.amp.GradScaler:
    """Return a GradScaler that is active for float16 only: the other dtypes have fp32's range."""
    return torch.amp.GradScaler(device_type, enabled=dtype == "float16")
