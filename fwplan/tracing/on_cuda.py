"""What CUDA would run where fake CPU tensors would take another way: attention, dropout, autocast's float32 list.

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

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_aten = torch.ops.aten
_MOST_FLASH_WIDTH = 256  # of a head: FlashAttention 2's limit
# autocast on CUDA runs these in float32, on CPU in the dtype of their input (torch/amp, "CUDA ops that autocast to
# float32"; those of a language model). Autograd then keeps the float32 input.
_FLOAT32 = {F.layer_norm, F.softmax, F.log_softmax, F.cross_entropy, F.nll_loss, torch.softmax, torch.log_softmax,
            Tensor.softmax, Tensor.log_softmax, torch.layer_norm, torch.nn.functional.mse_loss}  # fmt: skip


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
        if func in _FLOAT32 and torch.is_autocast_enabled("cpu"):
            with torch.autocast("cpu", enabled=False):
                return func(*(_float32(arg) for arg in args), **kwargs)
        return func(*args, **kwargs)


def _without_cuda(args: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_device(arg) for arg in args)


def _device(value: Any) -> Any:
    """Return "cpu" for a CUDA device, however it is written; anything else as it is."""
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    return "cpu" if isinstance(value, str) and value.split(":")[0] == "cuda" else value


def _float32(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16) else value


def _attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, dropout_p: float = 0.0,
    is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
) -> Tensor:  # fmt: skip
    """Take the kernel that CUDA would: flash for half precision, else the memory-efficient one, else the formula."""
    if torch.is_autocast_enabled("cpu"):
        query, key, value = (x.to(torch.get_autocast_dtype("cpu")) for x in (query, key, value))
    plain = not enable_gqa and query.dim() == 4
    kept: tuple[Tensor, ...]
    if plain and attn_mask is None and _flash_takes(query):
        kept = _aten._scaled_dot_product_flash_attention(  # noqa: SLF001
            query, key, value, dropout_p, is_causal, return_debug_mask=False, scale=scale
        )
        return kept[0]
    if plain and torch.backends.cuda.mem_efficient_sdp_enabled():
        for_backward = query.requires_grad or key.requires_grad or value.requires_grad
        kept = _aten._scaled_dot_product_efficient_attention(  # noqa: SLF001
            query, key, value, attn_mask, for_backward, dropout_p, is_causal, scale=scale
        )
        return kept[0]
    with torch.autocast("cpu", enabled=False), sdpa_kernel(SDPBackend.MATH):
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )


def _flash_takes(query: Tensor) -> bool:
    half = query.dtype in (torch.bfloat16, torch.float16)
    return half and query.size(-1) <= _MOST_FLASH_WIDTH and bool(torch.backends.cuda.flash_sdp_enabled())


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
        patch.object(torch.amp.autocast_mode.autocast, "__init__", _autocast_on_cpu()),
        patch.object(torch.autograd, "_engine_run_backward", _within(mode, _engine_run_backward)),
        mode,
    ):
        yield


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
