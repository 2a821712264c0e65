"""Rotary positions in eager torch, as fwplan/model/modules/rotary.py writes them: turned in fp32, pair by pair."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.tape.eager import Eager
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Tensor

TABLES = ("trunk.rotary.cos", "trunk.rotary.sin")
_BEFORE, _TURNED = "q, k before they turn", "q, k turned, in fp32"


def rotary(ops: Eager, x: Tensor, tables: Sequence[Tensor]) -> Tensor:
    """Return x (B, T, H, R) turned, in x's element type; the tables are in fp32, and so is what lies between."""
    cos, sin = tables
    half = x.shape[-1] // 2
    first, second = ops.split(x, (half, half), _BEFORE)
    left = ops.sub(ops.turned(first, cos, _TURNED), ops.turned(second, sin, _TURNED), _TURNED)
    right = ops.add(ops.turned(second, cos, _TURNED), ops.turned(first, sin, _TURNED), _TURNED)
    out = ops.cat([left, right], x.shape, _TURNED)
    del left, right
    return ops.cast(out, x.dtype, "q, k, v")


def rotary_share(ops: Eager, x: Tensor, width: Size, tables: Sequence[Tensor]) -> Tensor:
    """Return x (B, T, H, D) with the first `width` elements of each head turned."""
    turned, rest = ops.split(x, (width, x.shape[-1] - width), _BEFORE)
    return ops.cat([rotary(ops, turned, tables), rest], x.shape, "q, k, v")
