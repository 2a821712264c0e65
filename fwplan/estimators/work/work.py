"""The work of a model in numbers, of any size or arrays of sizes: what a roofline and a count of FLOPs ask for.

The forward of a kind of model is run once with letters for sizes; what it lists is compiled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.estimators.moments.matrix import arithmetic
from fwplan.estimators.moments.step import DIMS, B, T
from fwplan.estimators.work.listing import Listed, Listing
from fwplan.estimators.work.traffic import eager, fused
from fwplan.model.architecture import Dims
from fwplan.tape.dtypes import DTYPES, INT64
from fwplan.tape.size import ONE, ZERO, size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from fwplan.estimators.work.listing import Attention, Product
    from fwplan.estimators.work.traffic import Traffic
    from fwplan.model.architecture import Architecture, Block, Shapes
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Leaf, Tensor


class Numbers(NamedTuple):
    """The work of one block of given sizes: numbers, or arrays of them; of all at once, where they are not alike.

    Attributes:
        times: how often it is there: as often as there are blocks, or once.
        products: (outs, ins, how often) of the weights that every token is multiplied with.
        matrices: elements of them all.
        heads: of all attentions.
        attended: width of all these heads together.
        windowed: of those that look back only so far.
        moved: bytes that a token moves between the products, forward and backward.
        kernels: all of them, the products' too.
    """

    times: Any
    products: tuple[tuple[Any, Any, int], ...]
    matrices: Any
    heads: Any
    attended: Any
    windowed: Any
    moved: Any
    kernels: int


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
        times: how often a block is there; where they are not alike, "a block" is all of them, once.
        products: of a block, and how often each.
        attentions: of a block, and how often each.
        eager: a block's traffic, op by op.
        fused: the same compiled.
        weights: of the whole model.
        dropout: whether there is any.
    """

    times: Size
    products: Counter[Product]
    attentions: Counter[Attention]
    eager: Traffic
    fused: Traffic
    weights: Weights
    dropout: bool

    def of_block(self, n: Dims, *, compiled: bool) -> Numbers:
        """Return the work of one block of these sizes, run eagerly or compiled."""
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
            _sum(attention.heads * times for attention, times in self.attentions.items()),
            _sum(attention.width * times for attention, times in self.attentions.items()),
            _sum(attention.width * times for attention, times in self.attentions.items() if attention.windowed),
        )
        moved = _per_token(traffic.forward + traffic.backward)
        kernels = traffic.forward_kernels + traffic.backward_kernels
        return arithmetic([repr(x) for x in (self.times, tuple(products), *sums, moved, kernels)], Dims._fields)


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
    if structure.alike:  # a block is what the second of two adds, as neighbours fuse
        one, two = _Forward(structure, 1), _Forward(structure, 2)
        listed = two.products - one.products, two.attentions - one.attentions
        traffic = two.eager.minus(one.eager), two.fused.minus(one.fused)
        times = DIMS.L
    else:
        one, times = _Forward(structure, structure.n_layer), ONE
        listed, traffic = (one.products, one.attentions), (one.eager, one.fused)
    multiplied = one.multiplied(one.outside) + times * _sum(one.multiplied(block) for block in one.blocks)
    weights = Weights(structure.parameters(DIMS), multiplied, times * sum(len(block) for block in one.blocks))
    return Work(times, *listed, *traffic, weights, dropout=structure.dropout > 0)


class _Forward:
    """The forward of a model of so many blocks, listed. What lies below and above them is left to the roofline's head.

    Attributes:
        outside: the weights below and above the blocks.
        blocks: of each block.
        products: in the blocks.
        attentions: likewise.
        eager: the blocks' traffic, op by op.
        fused: the same compiled.
    """

    def __init__(self, model: Architecture, blocks: int) -> None:
        self.model, self.tape = model, Listing(*DTYPES["bfloat16"])
        self.tape.autocast &= model.autocasts
        self.ops = ops = Listed(self.tape)
        self.outside = self._made(model.below(DIMS) | model.above(DIMS))
        self.blocks = [self._made(model.block(DIMS, layer)) for layer in range(blocks)]
        dtype = model.tables_in(self.tape.products)
        buffers = {name: self.tape.buffer(shape, dtype) for name, shape in model.buffers(DIMS).items()}

        def run(embed: Callable[[], Tensor], block: Block) -> Tensor:
            x, before = embed(), len(self.tape.ops)
            ops.products.clear()
            for layer, weights in enumerate(self.blocks):
                x = block(x, weights, layer)
            self.products, self.attentions = Counter(ops.products), Counter(ops.attentions)
            inside = self.tape.ops[before:]
            self.eager, self.fused = eager(inside), fused(inside)
            return x

        model.hidden(ops, self.tape.given("batch", (B, T), INT64), self.outside | buffers, DIMS, run)

    def multiplied(self, weights: Mapping[str, Leaf]) -> Size:
        """Return the elements of those weights that multiply something: not of those that are looked up alone."""
        head = self.outside[self.model.embedding if self.model.tied_embeddings else self.model.head]
        used = (leaf for leaf in weights.values() if leaf is head or leaf in self.ops.multiplied)
        return _sum(leaf.tensor.numel for leaf in used)

    def _made(self, shapes: Shapes) -> dict[str, Leaf]:
        tape, held_in = self.tape, self.model.held_in
        return {
            name: tape.weight(shape, ONE, held_in(name, tape.weights, tape.products)) for name, shape in shapes.items()
        }
