"""What an optimizer remembers from step to step, and what its step makes, on a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from fwplan.estimators.dtypes import FLOAT32, UINT8
from fwplan.estimators.tape.size import expression, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fwplan.estimators.tape.size import Size
    from fwplan.estimators.tape.tape import Leaf, Storage, Tape

_CODE_TABLES = 2048  # bytes of bitsandbytes' two, once for all weights


class Optimizer(NamedTuple):
    """All of an optimizer that decides what it holds: which, as torch runs it, and over how many processes."""

    name: str
    implementation: str
    momentum: bool
    decays: bool
    shards: int


def state(tape: Tape, kind: Optimizer) -> list[Storage]:
    """Return what the optimizer remembers of every weight."""
    made = [tensor for leaf in tape.leaves for tensor in _state(tape, kind, leaf)]
    if kind.name == "adamw_8bit":
        made.append(tape.new("AdamW moments, 8 bits", (number(_CODE_TABLES),), UINT8))
    return made


def _state(tape: Tape, kind: Optimizer, leaf: Leaf) -> Iterator[Storage]:
    shape, numel = leaf.tensor.shape, leaf.tensor.numel
    if kind.shards > 1:
        shape = (expression(f"-(-({numel!r}) // {kind.shards})"),)
    if kind.name == "adamw":
        for _ in range(2):
            yield tape.new("AdamW moments", shape, tape.weights, leaf.count)
        yield tape.new("step counts", (), FLOAT32, leaf.count)
    elif kind.name == "adamw_8bit":
        yield tape.new("AdamW moments, 8 bits", (_quantised(numel),), UINT8, leaf.count)
    elif kind.momentum:
        yield tape.new("SGD momentum", shape, tape.weights, leaf.count)


def _quantised(numel: Size) -> Size:
    """Return bytes of both moments: one each and fp32 scales for blocks of 256; fp32 below 4,096 elements."""
    n = f"({numel!r})"
    return expression(f"({n} >= 4096) * (2 * {n} + 8 * -(-{n} // 256)) + ({n} < 4096) * 8 * {n}")


def step(tape: Tape, kind: Optimizer) -> None:
    """Clip the gradients and take a step: group by group, weights that decay first, as the trainer has them."""
    tape.make("norm of all gradients", (), FLOAT32)
    for decays in (True, False):
        group = [leaf for leaf in tape.leaves if leaf.is_matrix is decays]
        if kind.name == "adamw":
            _ADAMW[kind.implementation](tape, group)
        elif kind.name == "sgd" and kind.decays and decays:
            _SGD[kind.implementation](tape, group)


def _fused(tape: Tape, group: Sequence[Leaf]) -> None:
    """Make nothing: one kernel updates the weights in place."""


def _denominators_of_all(tape: Tape, group: Sequence[Leaf]) -> None:
    _ = [tape.new("AdamW foreach denominators", leaf.tensor.shape, tape.weights, leaf.count) for leaf in group]


def _denominators(tape: Tape, group: Sequence[Leaf]) -> None:
    """Make each weight's root and quotient while the last weight's quotient is still named."""
    denominator: Storage | None = None
    for leaf in group:
        root = tape.new("AdamW denominators", leaf.tensor.shape, tape.weights)
        quotient = tape.new("AdamW denominators", leaf.tensor.shape, tape.weights)
        del root
        denominator = quotient
        del quotient
    del denominator


def _decayed_of_all(tape: Tape, group: Sequence[Leaf]) -> None:
    _ = [tape.new("decayed gradients", leaf.tensor.shape, tape.weights, leaf.count) for leaf in group]


def _decayed(tape: Tape, group: Sequence[Leaf]) -> None:
    for leaf in group:
        tape.new("decayed gradients", leaf.tensor.shape, tape.weights)


_ADAMW = {"fused": _fused, "foreach": _denominators_of_all, "for_loop": _denominators}
_SGD = {"fused": _fused, "foreach": _decayed_of_all, "for_loop": _decayed}
