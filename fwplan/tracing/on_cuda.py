"""What CUDA would run where fake CPU tensors would take another way: attention, dropout, RMSNorm, autocast's lists.

Fake tensors on "cuda" need a CUDA build of torch, so a trace runs on fake CPU tensors everywhere. Where torch picks
other kernels for a GPU, with other tensors kept for backward, the call is exchanged here, above autograd and autocast.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.graph import _engine_run_backward
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from fwplan.tracing.cuda_autocast import autocast_as_on_cuda

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_aten = torch.ops.aten
_MASK_ALIGNMENT = 8
_MOST_FLASH_WIDTH = 256  # of a head: FlashAttention 2's limit


class OnCuda(TorchFunctionMode):
    """Rewrites calls so that fake CPU tensors take CUDA's path; "cuda" as a device becomes "cpu"."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        args, kwargs = _without_cuda(args), {key: _device(value) for key, value in (kwargs or {}).items()}
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        if func is F.dropout:
            return _dropout(*args, **kwargs)
        if func is Tensor.cuda:
            return args[0]
        return func(*args, **kwargs)


def _without_cuda(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_device(arg) for arg in args)


def _device(value: Any) -> Any:
    """Return "cpu" for a CUDA device, however it is written; anything else as it is."""
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    return "cpu" if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Take the kernel that CUDA would: flash for half precision, else the memory-efficient one, else the formula."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    four, grouped = query.dim() == 4, enable_gqa and query.size(-3) != key.size(-3)
    kept: tuple[Tensor, ...]
    if four and attn_mask is None and _flash_takes(query, key, value):
        kept = _aten._scaled_dot_product_flash_attention(  # noqa: SLF001
            query, key, value, dropout_p, is_causal, return_debug_mask=False, scale=scale
        )
        return kept[0]
    # grouped queries are flash's alone: check_batch_size_and_num_heads_dense<supports_gqa>, cuda/sdp_utils.cpp
    if four and not grouped and torch.backends.cuda.mem_efficient_sdp_enabled():
        attn_mask = _added_mask(attn_mask, query.dtype)
        for_backward = query.requires_grad or key.requires_grad or value.requires_grad
        kept = _aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
            query, key, value, attn_mask, for_backward, dropout_p, is_causal, scale=scale
        )
        return kept[0]
    with torch.autocast("cpu", enabled=False), sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )


def _added_mask(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """Return what the efficient kernel adds to scores for a mask: booleans are written out as 0 and minus infinity.

    Its rows begin at multiples of 8 elements: convert_boolean_attn_mask and preprocess_mask in
    aten/src/ATen/native/transformers/attention.cpp.
    """
    if mask is not None and mask.dtype == torch.bool:
        mask = torch.where(mask, torch.zeros((), dtype=dtype), torch.full((), -torch.inf, dtype=dtype))
    if mask is not None and mask.size(-1) % _MASK_ALIGNMENT:
        mask = F.pad(mask, (0, -mask.size(-1) % _MASK_ALIGNMENT))[..., : mask.size(-1)]
    return mask


def _flash_takes(query: Tensor, key: Tensor, value: Tensor) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    width = query.size(-1)
    fits = width == key.size(-1) == value.size(-1) <= _MOST_FLASH_WIDTH
    return half and fits and bool(torch.backends.cuda.flash_sdp_enabled())


def _dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:  # noqa: A002
    """CUDA draws and applies a mask of one byte an element in one kernel."""
    if not training or p == 0:
        return input
    out: Tensor = torch.native_dropout(input, p, train=True)[0]
    return input.copy_(out) if inplace else out


@contextmanager
def as_on_cuda() -> Iterator[None]:
    """Trace what a GPU would run: OnCuda's exchanges, and torch.autocast("cuda") taken for the fake tensors' device."""
    mode = OnCuda()
    with (
        autocast_as_on_cuda(),
        _fused_rms_norm(),
        patch.object(torch.amp.autocast_mode.autocast, "__init__", _autocast_on_cpu()),
        patch.object(torch.autograd, "_engine_run_backward", _within(mode, _engine_run_backward)),
        mode,
    ):
        yield


@contextmanager
def _fused_rms_norm() -> Iterator[None]:
    """Make F.rms_norm one op, as it is on CUDA where input and weight are of one dtype, with one backward.

    On CPU it is a formula of five. A kernel of its own has autograd take the op's own backward; it is never run, for
    FakeTensorMode knows what both return.
    """
    library = torch.library.Library("aten", "IMPL")
    library.impl("_fused_rms_norm", _never_run, "CPU")
    try:
        yield
    finally:
        library._destroy()  # noqa: SLF001


def _never_run(*_: object) -> None:
    raise NotImplementedError("fake tensors only")


def _within(mode: OnCuda, run: Callable[..., Any]) -> Callable[..., Any]:
    """Return the engine's start, made to run inside the mode: a checkpointed block's forward runs again in there."""

    @wraps(run)
    def run_within(*args: Any, **kwargs: Any) -> Any:
        with mode:
            return run(*args, **kwargs)

    return run_within


def _autocast_on_cpu() -> Callable[..., None]:
    original = torch.amp.autocast_mode.autocast.__init__

    @wraps(original)
    def init(self: Any, device_type: str, dtype: torch.dtype | None = None, *args: Any, **kwargs: Any) -> None:
        if device_type == "cuda":
            device_type, dtype = "cpu", dtype or torch.get_autocast_dtype("cuda")
        original(self, device_type, dtype, *args, **kwargs)

    return init
