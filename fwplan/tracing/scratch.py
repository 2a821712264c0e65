"""What a kernel takes beside its outputs, for the kernels whose scratch comes from torch's allocator and is large."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_aten = torch.ops.aten


def scratch_bytes(func: Any, args: Sequence[Any], device: str) -> int:
    """Return the bytes that an op needs for itself while it runs on "cuda" or "cpu"; 0 where none are known of."""
    rule = _RULES[device].get(func)
    return rule(args) if rule else 0


def _promoted(args: Sequence[Any]) -> int:
    """On CPU TensorIterator first copies an operand of another dtype; seen with the profiler (torch 2.13)."""
    target, other = args[0], args[1]
    if not isinstance(other, Tensor) or other.dtype == target.dtype or not other.dim():
        return 0
    return int(other.numel() * target.element_size())


def _flash_backward(args: Sequence[Any]) -> int:
    """FlashAttention 2's backward: dq in fp32, rounded to 128 tokens and 32 of a head's width, and a row sum.

    As in aten/src/ATen/native/transformers/cuda/flash_attn/flash_api.cpp, mha_bwd: dq_accum and softmax_d. For grouped
    queries also dk_expanded and dv_expanded, one for each query head, which are then summed over the group.
    """
    query, key = args[1], args[2]
    batch, heads, length, width = query.shape
    rows = batch * heads * _up(length, 128)
    grouped = key.shape[1] != heads
    expanded = 2 * key.element_size() * batch * heads * key.shape[2] * width if grouped else 0
    return int(4 * rows * (_up(width, 32) + 1)) + expanded


def _up(n: int, to: int) -> int:
    return -(-n // to) * to


def _sorted_indices(args: Sequence[Any]) -> int:
    """On CUDA an embedding's dense backward sorts the ids: sorted ids and their places, int64 each.

    As in aten/src/ATen/native/cuda/Embedding.cu: for more than 3,072 ids, or with scale_grad_by_freq.
    """
    ids = prod(args[1].shape)
    return 2 * 8 * ids if ids > 3072 else 0


_RULES: dict[str, dict[Any, Callable[[Sequence[Any]], int]]] = {
    "cpu": {_aten.add_.Tensor: _promoted},
    "cuda": {
        _aten._scaled_dot_product_flash_attention_backward.default: _flash_backward,  # noqa: SLF001
        _aten.embedding_dense_backward.default: _sorted_indices,
    },
}
