"""The work of a model in numbers, of any size or arrays of sizes: what a roofline and a count of FLOPs ask for.

The forward of a kind of model is run once with letters for sizes; what it lists is compiled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.estimators.dtypes import DTYPES, INT64
from fwplan.estimators.tape.matrix import arithmetic
from fwplan.estimators.tape.size import ZERO, size
from fwplan.estimators.tape.step import DIMS, B, T
from fwplan.estimators.work.listing import Listed, Listing
from fwplan.estimators.work.traffic import eager, fused
from fwplan.model.architecture import Dims

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from fwplan.estimators.tape.size import Size
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.estimators.work.listing import Attention, Op, Product
    from fwplan.estimators.work.traffic import Traffic
    from fwplan.model.architecture import Architecture, Block, Shapes


class Numbers(NamedTuple):
    """The work of one block of given sizes, or of all where they are not alike: numbers, or arrays of them.

    Attributes:
        products: (outs, ins, how often) of the weights that every token is multiplied with.
        matrices: elements of them all.
        heads: of all attentions.
        attended: width of all these heads together.
        windowed: width of those that look at some keys only.
        through_windows: these widths, each times its window.
        moved: bytes that a token moves between the products, forward and backward.
        kernels: all of them, the products' too.
    """

    products: tuple[tuple[Any, Any, int], ...]
    matrices: Any
    heads: Any
    attended: Any
    windowed: Any
    through_windows: Any
    moved: Any
    kernels: int

    def seen(self, T: int) -> Any:
        """Return width times keys that a token looks at in a sequence of T, its own future among them."""
        return (self.attended - self.windowed) * T + self.through_windows


class Weights(NamedTuple):
    """How many weights a model has.

    Attributes:
        elements: of all of them.
        multiplied: of those that multiply something: 2 FLOPs each for a token's forward.
        tensors: of the blocks.
    """

    elements: Any
    multiplied: Any
    tensors: Any


@dataclass(frozen=True, eq=False)
class Work:
    """The work of a kind of model, in letters.

    Attributes:
        blocks: that what follows is of: one, or all where they are not alike.
        products: of a block, and how often each.
        attentions: of a block.
        eager: a block's traffic, op by op.
        fused: the same compiled.
        weights: of the whole model.
        dropout: whether there is any.
    """

    blocks: int
    products: Counter[Product]
    attentions: list[Attention]
    eager: Traffic
    fused: Traffic
    weights: Weights
    dropout: bool

    def of_block(self, n: Dims, *, compiled: bool) -> Numbers:
        """Return the work of `blocks` blocks of these sizes, run eagerly or compiled."""
        return Numbers(*(self._fused if compiled else self._eager)(*n))

    def weights_of(self, n: Dims) -> Weights:
        """Return how many weights a model of these sizes has: numbers, or arrays of them."""
        return Weights(*self._weights(*n))

    @cached_property
    def _weights(self) -> Callable[..., tuple[Any, ...]]:
        return arithmetic([repr(size) for size in self.weights], Dims._fields)

    @cached_property
    def _eager(self) -> Callable[..., tuple[Any, ...]]:
        return self._compiled(self.eager)

    @cached_property
    def _fused(self) -> Callable[..., tuple[Any, ...]]:
        return self._compiled(self.fused)

    def _compiled(self, traffic: Traffic) -> Callable[..., tuple[Any, ...]]:
        products = [(*product, times) for product, times in self.products.items()]
        sums = (
            _sum(outs * ins * times for outs, ins, times in products),
            _sum(attention.heads for attention in self.attentions),
            _sum(attention.width for attention in self.attentions),
            _sum(width for _, width, window in self.attentions if window is not None),
            _sum(width * window for _, width, window in self.attentions if window is not None),
        )
        moved = _per_token(traffic.forward + traffic.backward)
        kernels = traffic.forward_kernels + traffic.backward_kernels
        return arithmetic([repr(tuple(products)), *map(repr, (*sums, moved, kernels))], Dims._fields)


def _sum(sizes: Iterable[Size]) -> Size:
    return sum(sizes, start=ZERO)


def _per_token(total: Size) -> Size:
    """Return a size that is so much for each of B T tokens, for one."""
    rest = []
    for monomial, count in total.terms:
        left = list(monomial)
        for each in "BT":
            left.remove(each)
        rest.append((tuple(left), count))
    return size(rest)


@lru_cache(maxsize=64)
def work_of(structure: Architecture) -> Work:
    """Return the work of a kind of model (its `structure`) under bfloat16's autocast; made once in a process.

    Other precisions move other bytes, but the published speeds do not show it: fwplan/estimators/kernels.py.
    """
    if not structure.alike:
        every = _Forward(structure, range(structure.n_layer))
        return every.work(structure.n_layer, every.multiplied(*every.blocks), sum(map(len, every.blocks)))
    one, two = _Forward(structure, [0]), _Forward(structure, [0, 0])  # neighbours fuse: a block is what a second adds
    (block,) = one.blocks
    return replace(
        one.work(1, DIMS.L * one.multiplied(block), DIMS.L * len(block)),
        eager=eager(two.inside).minus(eager(one.inside)),
        fused=fused(two.inside).minus(fused(one.inside)),
    )


class _Forward:
    """The forward of a model of these blocks."""

    def __init__(self, model: Architecture, layers: Sequence[int]) -> None:
        tape = Listing(*DTYPES["bfloat16"])
        tape.autocast &= model.autocasts
        self.model, self.ops = model, Listed(tape)
        self.outside = _weights(tape, model, model.below(DIMS) | model.above(DIMS))
        self.head = self.outside[model.embedding if model.tied_embeddings else model.head]
        self.blocks: list[dict[str, Leaf]] = []
        self.inside: list[Op] = []  # the ops of the blocks
        self.products: list[Product] = []  # of the blocks

        def run(embed: Callable[[], Tensor], block: Block) -> Tensor:
            x, first, product = embed(), len(tape.ops), len(self.ops.products)
            for layer in layers:
                self.blocks.append(_weights(tape, model, model.block(DIMS, layer)))
                x = block(x, self.blocks[-1], layer)
            self.inside, self.products = tape.ops[first:], self.ops.products[product:]
            return x

        tables = model.tables_in(tape.products)
        buffers = {name: tape.buffer(shape, tables) for name, shape in model.buffers(DIMS).items()}
        model.hidden(self.ops, tape.given("batch", (B, T), INT64), self.outside | buffers, DIMS, run)

    def work(self, blocks: int, multiplied: Size, tensors: Size | int) -> Work:
        """Return what was listed as the work of so many blocks; the last two are of all blocks of a model."""
        return Work(
            blocks=blocks,
            products=Counter(self.products),
            attentions=self.ops.attentions,
            eager=eager(self.inside),
            fused=fused(self.inside),
            weights=Weights(self.model.parameters(DIMS), self.multiplied(self.outside) + multiplied, tensors),
            dropout=self.model.dropout > 0,
        )

    def multiplied(self, *weights: Mapping[str, Leaf]) -> Size:
        """Return the elements of those weights that multiply something: not of those that are looked up alone."""
        used = (leaf for part in weights for leaf in part.values() if leaf is self.head or leaf in self.ops.multiplied)
        return _sum(leaf.tensor.numel for leaf in used)


def _weights(tape: Listing, model: Architecture, shapes: Shapes) -> dict[str, Leaf]:
    return {
        name: tape.weight(shape, dtype=model.held_in(name, tape.weights, tape.products))
        for name, shape in shapes.items()
    }
