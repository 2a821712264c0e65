"""Bytes moved and kernels launched beside the matrix products and attentions: op by op, or fused between them."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, NamedTuple

from fwplan.estimators.work.listing import of_tokens
from fwplan.tape.attention import STATISTICS
from fwplan.tape.size import ZERO, Size
from fwplan.tape.tape import numel

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from fwplan.estimators.work.listing import Op
    from fwplan.tape.tape import Storage, Tensor


class Traffic(NamedTuple):
    """What moves between the products: bytes of what tokens have; and all kernels, those of the products among them."""

    forward: Size
    backward: Size
    forward_kernels: int
    backward_kernels: int

    def minus(self, other: Traffic) -> Traffic:
        """Return what this has more than another."""
        return Traffic(
            self.forward - other.forward,
            self.backward - other.backward,
            self.forward_kernels - other.forward_kernels,
            self.backward_kernels - other.backward_kernels,
        )


def eager(ops: Sequence[Op]) -> Traffic:
    """Return what torch's eager ops move: each reads its inputs and writes its outputs; a kernel makes a tensor.

    Where several ops take a tensor, backward adds their gradients up one after the other, in place.
    """
    forward = backward = ZERO
    for op in ops:
        if op.kind not in _PRICED and op.made:
            inside = [storage for storage in op.made if storage is not op.out.storage]
            forward += _read(op.reads) + _bytes([*op.made, *inside])
        if op.kind not in _PRICED and op.gradients:
            backward += _read([op.out]) + _bytes([*op.kept, *op.gradients])
    taken = Counter(x.edge for op in ops for x in op.reads if x.node is not None)
    again = [x for x in {x.edge: x for op in ops for x in op.reads}.values() for _ in range(taken[x.edge] - 1)]
    return Traffic(
        forward,
        backward + 3 * _read(again),
        sum(_kernels(op.made) for op in ops),
        sum(_kernels(op.gradients) for op in ops) + len(again),
    )


_PRICED = {"product", "attention"}  # by the roofline, with all that they read and write


def _read(tensors: Iterable[Tensor]) -> Size:
    return sum((x.dtype.width * x.numel for x in tensors if of_tokens(x.storage)), start=ZERO)


def _bytes(storages: Iterable[Storage]) -> Size:
    kinds = [storage.kind for storage in storages if of_tokens(storage)]
    return sum((kind.dtype.width * numel(kind.shape) for kind in kinds), start=ZERO)


def _kernels(made: Iterable[Storage]) -> int:
    """Return the kernels that make these. Of vectors, such as biases' gradients, the published speeds show nothing."""
    return sum(storage.kind.name != STATISTICS and len(storage.kind.shape) > 1 for storage in made)


def fused(ops: Sequence[Op]) -> Traffic:
    """Return what torch.compile's kernels move: all that happens between two products or attentions is one kernel.

    It reads what it takes and writes what others take of it, once; its backward reads the gradients of what it wrote
    and what it needs of the forward, and writes those of what it read. What lies within is computed again.
    """
    graph = _Graph(ops)
    moved = [graph.moved(inside) for inside in graph.fused.values()]
    alone = [op for op in ops if op.kind in {"weight", *_PRICED}]
    views = {op.out.node for op in ops if op.kind == "view" and op.gradients}
    parts = [x for op in ops if op.kind in _PRICED for x in op.reads if x.node in views]  # joined again in backward
    summed = [g for op in ops if op.kind == "pointwise" for g in op.gradients if not of_tokens(g)]  # of norms' weights
    return Traffic(
        sum((forward for forward, _ in moved), start=ZERO),
        sum((backward for _, backward in moved), start=ZERO) + 2 * _read(parts),
        len(moved) + sum(_kernels(op.made) for op in alone),
        len(moved) + sum(_kernels(op.gradients) for op in alone) + len({x.node for x in parts}) + _kernels(summed),
    )


class _Graph:
    """Which ops are one kernel: those with the same products below them, as late as what takes their output allows."""

    def __init__(self, ops: Sequence[Op]) -> None:
        ops = [op for op in ops if op.kind != "view"]
        self.maker = {op.out.storage: op for op in ops}
        self.takers: dict[Storage, list[Op]] = defaultdict(list)
        for op in ops:
            for storage in {x.storage for x in op.reads}:
                self.takers[storage].append(op)
        self.level: dict[Op, int] = {}
        for op in ops:
            below = (self.maker[x.storage] for x in op.reads if x.storage in self.maker)
            self.level[op] = max((self.level[made] for made in below), default=0) + (op.kind in _PRICED)
        self.fused: dict[int, list[Op]] = defaultdict(list)
        for op in reversed(ops):
            if op.kind == "pointwise":
                above = [self.level[taker] - (taker.kind in _PRICED) for taker in self.takers[op.out.storage]]
                self.level[op] = min(above, default=self.level[op])
                self.fused[self.level[op]].append(op)

    def moved(self, inside: Sequence[Op]) -> tuple[Size, Size]:
        """Return the bytes that these ops move as one kernel: forward, backward."""
        made = {op.out.storage for op in inside}
        read = {x.storage: x.node is not None for op in inside for x in op.reads if x.storage not in made}
        written = {storage: len(self._kernels_taking(storage, inside)) for storage in made}
        written = {storage: count for storage, count in written.items() if count or not self.takers[storage]}

        def needed(storage: Storage) -> set[Storage]:
            """Return what a kernel of the backward reads to have this."""
            if storage in read or storage in written:
                return {storage}
            return set().union(*(needed(x.storage) for x in self.maker[storage].reads)) if storage in made else set()

        needs = set().union(*(needed(storage) for op in inside for storage in op.kept))
        gradients = [storage for storage, count in written.items() for _ in range(max(count, 1))]
        learns = [storage for storage, asks in read.items() if asks]
        return _bytes([*read, *written]), _bytes([*gradients, *needs, *learns])

    def _kernels_taking(self, storage: Storage, inside: Sequence[Op]) -> set[Op | int]:
        """Return the kernels other than this one that take a tensor: a product is one, and what is fused is one."""
        others = (taker for taker in self.takers[storage] if taker not in inside)
        return {taker if taker.kind in _PRICED else self.level[taker] for taker in others}
