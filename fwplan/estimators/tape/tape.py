"""A torch in which tensors are only sizes: forward and backward as autograd runs them, and what is alive meanwhile.

No torch. Who holds a tensor's storage (a variable of the forward, a node that saved it for backward, a gradient that
waits) keeps its bytes alive, and the last one to let go frees them: Python's own reference counts are the liveness
analysis, as they are torch's. So a forward that is written once, in plain Python, is its own memory model.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fwplan.estimators.phases import Phase
from fwplan.estimators.tape.size import ONE, ZERO, Size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fwplan.estimators.dtypes import Dtype

Shape = tuple[Size, ...]


class Kind(NamedTuple):
    """What tells tensors apart: the name that a user sees, the shape, the element type."""

    name: str
    shape: Shape
    dtype: Dtype


class Event(NamedTuple):
    """From here on so many more tensors of a kind are alive, or fewer.

    `made` tells an allocation, at which memory can peak, from a release, a new name or a repetition. `runs` counts how
    often the blocks around it are run, from the outermost in: where one of them is not, the moment does not exist.
    """

    kind: Kind
    tensors: Size
    phase: Phase
    made: bool
    runs: tuple[Size, ...]


class Storage:
    """Memory: in its tape's book while it lives."""

    __slots__ = ("count", "kind", "tape")

    def __init__(self, tape: Tape, kind: Kind, count: Size = ONE) -> None:
        self.tape, self.kind, self.count = tape, kind, count
        tape.note(kind, count, made=True)

    def __del__(self) -> None:
        self.tape.note(self.kind, self.count * -1)

    def rename(self, name: str) -> None:
        """Call it by what keeps it from here on: a block's output is, a line later, what the next norm keeps."""
        self.tape.kept.add(name)
        self.tape.note(self.kind, self.count * -1)
        self.kind = self.kind._replace(name=name)
        self.tape.note(self.kind, self.count)


class Tensor:
    """A shape and an element type over a storage, made by a node (None: no gradient is asked for).

    `view`: autograd holds the storage in another place too, so that its engine may not add to it in place.
    """

    __slots__ = ("dtype", "node", "shape", "slot", "storage", "view")

    def __init__(
        self, storage: Storage, shape: Shape, dtype: Dtype, node: Node | Leaf | None = None, slot: int = 0
    ) -> None:
        self.storage, self.shape, self.dtype, self.node, self.slot = storage, shape, dtype, node, slot
        self.view = False

    @property
    def numel(self) -> Size:
        """Elements."""
        return numel(self.shape)

    @property
    def edge(self) -> Edge | None:
        """Where its gradient goes; None: it asks for none."""
        return None if self.node is None else (self.node, self.slot)

    def alias(self) -> Tensor:
        """Return another tensor over the same storage, without a node."""
        return Tensor(self.storage, self.shape, self.dtype)


@cache
def numel(shape: Shape) -> Size:
    """Return the elements of a shape."""
    total = ONE
    for size in shape:
        total = total * size
    return total


Gradients = list["Tensor | None"]
Edge = tuple["Node | Leaf", int]


class Backward(Protocol):
    """An op's backward: it takes its outputs' gradients and gives its inputs'."""

    def __call__(self, given: Gradients, /) -> Gradients:
        """Return the inputs' gradients; empty `given` when torch lets go of it."""


class Node:
    """One op in the graph. It is emptied as it runs: what it has kept goes when its backward lets go of it."""

    __slots__ = ("backward", "buffers", "edges", "kept")

    def __init__(self, edges: list[Edge | None], backward: Backward, outputs: int, kept: Kept | None) -> None:
        self.edges, self.backward, self.kept = edges, backward, kept
        self.buffers: Gradients = [None] * outputs  # gradients of its outputs, as they come in


class Kept(list[Storage]):
    """What a node keeps for its backward; inside a checkpointed block nothing, until the block is run again."""

    def __init__(self, storages: Iterable[Storage] = (), block: Recomputed | None = None) -> None:
        super().__init__(storages)
        self.block = block


class Recomputed:
    """A checkpointed block: what its nodes would keep is thrown away, and made again when the first of them asks."""

    def __init__(self, again: Callable[[], object]) -> None:
        self.again = again
        self.asked: list[Kept] = []  # by the forward, in order
        self.filled = 0  # of them, by the forward that is run again
        self.filling = False

    def keep(self, storages: Sequence[Storage]) -> Kept:
        """Return an empty Kept in the forward; when it is run again, fill the forward's, and stop with the last."""
        if not self.filling:
            self.asked.append(Kept(block=self))
            return self.asked[-1]
        self.asked[self.filled].extend(storages)
        self.filled += 1
        if self.filled == len(self.asked):
            raise _EnoughError
        return Kept()


class _EnoughError(Exception):
    """Recomputation has made all that backward asks for: torch stops there too."""


class Leaf:
    """A weight, with its gradient. `count` equal ones stand behind it, in blocks that are not run one by one."""

    __slots__ = ("buffers", "copy", "count", "due", "grad", "tensor")

    def __init__(self, tensor: Tensor, count: Size) -> None:
        self.tensor, self.count = tensor, count
        self.grad: Tensor | None = None
        self.buffers: Gradients = [None]  # the sum of this backward's gradients so far
        self.due = 0  # how many of them are still to come
        self.copy: Tensor | None = None  # autocast's, until the forward leaves its context
        tensor.node = self

    @property
    def is_matrix(self) -> bool:
        """Whether it has two dimensions: such weights decay."""
        return len(self.tensor.shape) > 1


class Tape:
    """Runs ops, keeps book of what is alive, and plays autograd's backward.

    Attributes:
        weights: the element type of weights, their gradients and moments.
        kept: names of what is kept for backward.
        products: what matrix products take and give; another than `weights` is autocast's.
        cuda: whether torch takes CUDA's kernels, or the processor's.
    """

    def __init__(self, weights: Dtype, products: Dtype, *, cuda: bool) -> None:
        self.weights, self.products, self.cuda = weights, products, cuda
        self.autocast = weights != products
        self.events: list[Event] = []
        self.kept: set[str] = set()
        self.phase = Phase.SET_UP
        self.leaves: list[Leaf] = []
        self.recording = self.training = True
        self._block: Recomputed | None = None
        self._runs: tuple[Size, ...] = ()
        self._nodes: list[Node] = []
        self._copied: list[tuple[Leaf, tuple[Size, ...]]] = []

    # What is alive

    def note(self, kind: Kind, count: Size, *, made: bool = False) -> None:
        """Enter in the book that `count` more of a kind are alive."""
        self.events.append(Event(kind, count, self.phase, made, self._runs))

    def new(self, name: str, shape: Shape, dtype: Dtype, count: Size = ONE) -> Storage:
        """Return fresh memory for a tensor."""
        return Storage(self, Kind(name, shape, dtype), count)

    def save(self, name: str, shape: Shape, dtype: Dtype) -> Storage:
        """Return fresh memory that is kept for backward from the first."""
        self.kept.add(name)
        return self.new(name, shape, dtype)

    def make(self, name: str, shape: Shape, dtype: Dtype) -> Tensor:
        """Return a fresh tensor that asks for no gradient."""
        return Tensor(self.new(name, shape, dtype), shape, dtype)

    def weight(self, shape: Shape, count: Size = ONE) -> Leaf:
        """Return a weight, behind which `count` equal ones stand."""
        leaf = Leaf(Tensor(self.new("weights", shape, self.weights, count), shape, self.weights), count)
        self.leaves.append(leaf)
        return leaf

    def set_phase(self, phase: Phase) -> None:
        """Call the moments from here on by this phase."""
        self.phase = phase

    def gradient(self, leaf: Leaf) -> Tensor:
        """Return the gradient that a weight, and those behind it, have from a step before."""
        shape = leaf.tensor.shape
        return Tensor(self.new("gradients", shape, self.weights, leaf.count), shape, self.weights)

    # What happens more than once, and is run once

    @contextmanager
    def times(self, count: Size) -> Iterator[None]:
        """Let what happens inside happen `count` times: what it leaves alive, and what it frees, counts so often."""
        leave = self.enter(count)
        yield
        leave()

    def enter(self, count: Size, exists: Size = ONE) -> Callable[[], None]:
        """Begin what happens `count` times, where there is such a thing at all, and return what ends it."""
        if count is ONE and exists is ONE:
            return _nothing
        since, outside = len(self.events), self._runs
        self._runs = tuple(dict.fromkeys((*outside, count, exists)))

        def leave() -> None:
            self._runs = outside
            self._repeat(since, count - 1)

        return leave

    def _repeat(self, since: int, times: Size) -> None:
        change: dict[Kind, Size] = {}
        for event in self.events[since:]:
            change[event.kind] = change.get(event.kind, ZERO) + event.tensors
        for kind, count in change.items():
            if count is not ZERO:
                self.note(kind, count * times)

    # The graph

    def op(
        self,
        inputs: list[Tensor | None],
        out: Tensor,
        backward: Backward,
        kept: Kept | None = None,
        *,
        outputs: int = 1,
    ) -> Tensor:
        """Return `out`, made of the inputs by an op whose backward takes its outputs' gradients and gives theirs.

        A backward empties the list that it is given, and what it has kept, when torch's lets go of them.
        """
        if self.recording and any(x is not None and x.node is not None for x in inputs):
            out.node = Node([None if x is None else x.edge for x in inputs], backward, outputs, kept)
            self._nodes.append(out.node)
        return out

    def keep(self, *storages: Storage) -> Kept:
        """Return what a node keeps for backward of these; call it when torch has made and saved them."""
        return Kept(storages) if self._block is None else self._block.keep(storages)

    @contextmanager
    def checkpointing(self, block: Recomputed) -> Iterator[None]:
        """Let what is run inside keep nothing: the block runs it again when its backward comes."""
        self._block = block
        yield
        self._block = None

    def _run_again(self, block: Recomputed) -> None:
        nodes, recording, self._nodes, self.recording = self._nodes, self.recording, [], True
        self._block, block.filling = block, True
        with suppress(_EnoughError):
            block.again()
        self._block = None
        self._nodes, self.recording = nodes, recording
        self.leave_autocast()

    @contextmanager
    def no_grad(self) -> Iterator[None]:
        """Record no graph inside."""
        was, self.recording = self.recording, False
        yield
        self.recording = was

    # Autocast

    @contextmanager
    def no_autocast(self) -> Iterator[None]:
        """Take ops as they come inside: fp32 tensors are what autocast would make of them."""
        was, self.autocast = self.autocast, False
        yield
        self.autocast = was

    def autocast_copy(self, leaf: Leaf, make: Callable[[], Tensor]) -> Tensor:
        """Return autocast's copy of a weight: made at its first use, cached until the forward leaves its context."""
        if leaf.copy is None:
            leaf.copy = make()
            self._copied.append((leaf, self._runs))
        return leaf.copy

    def leave_autocast(self) -> None:
        """Empty autocast's cache; what nodes have kept of it stays."""
        while self._copied:
            leaf, runs = self._copied.pop()
            with self.times(ONE if runs == self._runs else leaf.count):  # made outside, it stands for all of them
                leaf.copy = None

    # Backward

    def backward(self, start: Edge | None, gradient: Tensor) -> None:
        """Run the graph backward from an output of a node, the newest node first, as autograd does."""
        pending, self._nodes = self._nodes, []
        for node in pending:
            for edge in node.edges:
                if edge is not None and isinstance(edge[0], Leaf):
                    edge[0].due += 1
        assert start is not None  # noqa: S101  # a loss is made by an op
        start[0].buffers[start[1]] = gradient
        del start, gradient, node
        while pending:
            self._run(pending.pop())

    def _run(self, node: Node) -> None:
        gradients, edges = node.buffers, node.edges
        reached = any(gradient is not None for gradient in gradients)
        block = node.kept.block if node.kept is not None else None
        if reached and block is not None and not block.filling:
            self._run_again(block)
        node.buffers, backward = [], node.backward
        del node.backward, node.kept
        given = backward(gradients) if reached else [None] * len(edges)
        del backward, gradients
        for edge in edges:
            gradient = given.pop(0)
            if edge is not None:
                self._give(*edge, gradient)
            del gradient

    def _give(self, to: Node | Leaf, slot: int, gradient: Tensor | None) -> None:
        """Put a gradient where it belongs: alone, or added to the one that waits there."""
        waiting = to.buffers[slot]
        if gradient is not None and waiting is None:
            to.buffers[slot] = gradient
        elif gradient is not None and waiting is not None and (waiting.view or _is_shared(waiting.storage)):
            to.buffers[slot] = self.make("sum of the tied gradients", waiting.shape, waiting.dtype)
        if isinstance(to, Leaf):
            to.due -= 1
            if not to.due:
                self._arrived(to)

    @staticmethod
    def _arrived(leaf: Leaf) -> None:
        """Hand over a weight's gradient: the first of a step becomes .grad, the others are added to it in place."""
        gradient, leaf.buffers[0] = leaf.buffers[0], None
        if leaf.grad is None and gradient is not None:
            gradient.storage.rename("gradients")
            leaf.grad = gradient


def _is_shared(storage: Storage) -> bool:
    """Return whether others than the one waiting tensor hold its storage: then autograd may not add to it in place."""
    return sys.getrefcount(storage) > 3  # the waiting tensor's, this call's, getrefcount's own


def _nothing() -> None:
    """End what happens once."""
