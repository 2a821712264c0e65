"""torch.compile's graphs on a tape: what is fused is no memory, until a kernel writes it.

A value that a pointwise op makes is Unmade: it is known how, and of what, and holds that alive. A kernel writes it when
a matrix product, attention or a graph's end asks for it, then lets go of what it was made of. What a kernel writes is
there before what it has read is gone, but for a buffer of the same size that nobody reads again: inductor writes over
that. Read in the code that inductor generates for a processor, torch 2.13, kernel by kernel.

Not modelled: buffers that inductor keeps to use them again. It does so only where the graph's peak stays what it was
(AllocateLine.should_reuse_buffer, torch/_inductor/codegen/wrapper.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.tape.tape import Kind, Storage, Tape, Tensor, numel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from weakref import ref

    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.tape import Edge, Leaf, Recomputed, Shape


class Unmade(Storage):
    """A value that no kernel has written yet.

    Attributes:
        sources: what it is computed from.
        over: the buffer that it may be written over, where that is of its size.
        shared: more than one kernel reads it: the first one writes it too. Others are computed again by each reader.
        behind: the recomputed block that it is the output of.
        looked_up: it is made of weights alone, by look-up: cheap to compute again, as its look-ups are kept.
        beside: what the kernel that writes it writes too.
        once: the first kernel that reads it takes it along; what else asks for it in another type gets that one's.
        casts: it in other element types.
        product: its kernel is a matrix product: it runs after the kernel that writes what it takes.
        last: it is computed when all else of the graph is.
    """

    __slots__ = (
        "__weakref__", "behind", "beside", "casts", "last", "looked_up", "made", "once", "over", "product", "shared",
        "sources",
    )  # fmt: skip

    def __init__(self, tape: Tape, kind: Kind, sources: Iterable[Storage], over: Storage | None = None) -> None:
        self.tape, self.kind, self.count = tape, kind, numel(())
        self.sources, self.over = list(sources), over
        self.made: Storage | None = None
        self.behind: Recomputed | None = None
        self.beside: list[ref[Unmade]] = []
        self.shared = self.looked_up = self.once = self.product = self.last = False
        self.casts: dict[Dtype, Tensor] = {}

    def __del__(self) -> None:
        """Nothing: it has no memory of its own."""

    def rename(self, name: str) -> None:
        """Call it by what keeps it."""
        if self.made is not None:
            self.made.rename(name)
        self.kind = self.kind._replace(name=name)


def written(storage: Storage) -> Storage:
    """Return the memory of what is in memory."""
    found = storage.made if isinstance(storage, Unmade) else storage
    assert found is not None  # noqa: S101  # a kernel has written it
    return found


def needed(storage: Storage) -> Iterator[Storage]:
    """Yield what has to be kept so that a value can be computed again: itself, in memory or looked up."""
    if not isinstance(storage, Unmade) or not storage.sources:
        yield storage
    else:
        for source in storage.sources:
            yield from needed(source)


class GraphTape(Tape):
    """A tape of compiled functions: one graph for the forward, one for the backward."""

    def __init__(self, weights: Dtype, products: Dtype, *, cuda: bool) -> None:
        super().__init__(weights, products, cuda=cuda)
        self.in_backward_graph = False
        self._pending: list[Storage] = []  # gradients of weights that the next kernel writes
        self._last: list[Storage] = []  # and that the graph's last one does
        self._outputs: list[tuple[Leaf, Tensor]] = []

    def unmade(
        self, name: str, shape: Shape, dtype: Dtype, sources: Iterable[Storage], over: Storage | None = None
    ) -> Tensor:
        """Return a tensor that is computed from these, when a kernel has to."""
        return Tensor(Unmade(self, Kind(name, shape, dtype), sources, over), shape, dtype)

    @property
    def running_again(self) -> bool:
        """Whether a recomputed block is run again, in backward."""
        return self._block is not None and self._block.filling

    @property
    def keeps_at_once(self) -> bool:
        """Whether what a node keeps now is there until its backward."""
        return self.recording and (self._block is None or self._block.filling)

    @property
    def asks_for_no_more(self) -> bool:
        """Whether what is kept next is the last that a block that is run again is asked for."""
        block = self._block
        return block is not None and block.filling and block.filled + 1 == len(block.asked)

    def soon(self, value: Tensor) -> None:
        """Let the next kernel write this."""
        self._pending.append(value.storage)

    def write(self, *wanted: Storage) -> None:
        """Run a kernel that writes these, and the gradients of weights that are due."""
        due, products = self._pending, {id(p): p for value in self._pending for p in _products(value)}
        self._pending = [value for value in due if list(_products(value)) not in ([], [value])]
        ready = [value for value in due if not list(_products(value))]
        self.write_alone(*wanted, *ready, *(source for p in products.values() for source in p.sources))
        for product in products.values():
            self.write_alone(product)

    def write_alone(self, *wanted: Storage) -> None:
        """Run a kernel that writes these and what they are made of, and nothing that is merely due."""
        plan: dict[int, Unmade] = {}
        for storage in wanted:
            _plan(storage, plan)
        for value in plan.values():
            self._make(value)
        for value in plan.values():
            for source in value.sources:
                _let_go(source)
            value.sources.clear()
            value.over = None

    def _make(self, value: Unmade) -> None:
        over = value.over.made if isinstance(value.over, Unmade) else value.over
        if over is not None and _bytes(over.kind) == _bytes(value.kind):
            self.note(over.kind, over.count * -1)
            over.kind = value.kind
            self.note(over.kind, over.count)
            value.made = over
        else:
            value.made = Storage(self, value.kind)

    def summed(self, waiting: Tensor, gradient: Tensor) -> Tensor:
        """Return the sum of two gradients: a kernel's, which writes it over the first."""
        total = Unmade(self, waiting.storage.kind, [waiting.storage, gradient.storage], waiting.storage)
        total.last = isinstance(waiting.storage, Unmade) and waiting.storage.product
        return Tensor(total, waiting.shape, waiting.dtype)

    def backward(self, start: Edge | None, gradient: Tensor) -> None:
        """Run the graph backward; what it returns, the weights' gradients, lives to its end."""
        super().backward(start, gradient)
        while self._pending:
            self.write()
        self.write(*self._last)
        self._last.clear()
        self.in_backward_graph = False
        while self._outputs:
            self._hand_over(*self._outputs.pop())

    def _arrived(self, leaf: Leaf) -> None:
        if not self.in_backward_graph:
            super()._arrived(leaf)
            return
        gradient, leaf.buffers[0] = leaf.buffers[0], None
        if gradient is None:
            return
        gradient.storage.rename("gradients" if leaf.grad is None else "fresh gradients")
        last = isinstance(gradient.storage, Unmade) and gradient.storage.last
        (self._last if last else self._pending).append(gradient.storage)
        self._outputs.append((leaf, gradient))

    def _hand_over(self, leaf: Leaf, gradient: Tensor) -> None:
        """Make a gradient the weight's, or add it to that in place: then so many go as blocks have made."""
        if leaf.grad is None:
            leaf.grad = gradient
        else:
            written(gradient.storage).count = leaf.count


def _products(value: Storage) -> Iterator[Unmade]:
    """Yield the products that are still to be run for a value."""
    if isinstance(value, Unmade) and value.made is None:
        if value.product:
            yield value
        else:
            for source in value.sources:
                yield from _products(source)


def _plan(storage: Storage, plan: dict[int, Unmade]) -> None:
    """Add a value to what a kernel writes, after those that it is made of and that others read too."""
    if not isinstance(storage, Unmade) or storage.made is not None or id(storage) in plan:
        return
    for source in storage.sources:
        _plan_shared(source, plan)
    plan[id(storage)] = storage
    for other in storage.beside:
        found = other()
        if found is not None:
            _plan(found, plan)


def _plan_shared(source: Storage, plan: dict[int, Unmade]) -> None:
    if not isinstance(source, Unmade) or source.made is not None:
        return
    if source.shared:
        _plan(source, plan)
    else:
        for inner in source.sources:
            _plan_shared(inner, plan)


def _let_go(source: Storage) -> None:
    """Let go of what a value was computed from that the kernel has taken along."""
    if isinstance(source, Unmade) and source.once:
        source.sources.clear()


def _bytes(kind: Kind) -> object:
    return numel(kind.shape) * kind.dtype.width


def is_unmade(storage: Storage) -> bool:
    """Return whether no kernel has written a value yet."""
    return isinstance(storage, Unmade) and storage.made is None


def is_looked_up(x: Tensor) -> bool:
    """Return whether a value is made of look-ups in weights alone, and is not in memory."""
    return isinstance(x.storage, Unmade) and x.storage.looked_up and x.storage.made is None


def unmade_of(x: Tensor) -> Unmade:
    """Return the value behind a tensor that a pointwise op has made."""
    assert isinstance(x.storage, Unmade)  # noqa: S101  # it was made a line above
    return x.storage
