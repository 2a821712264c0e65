"""The work of a model in numbers, of any size or arrays of sizes: what a roofline and a count of FLOPs ask for.

The forward of a kind of model is run once with letters for sizes; what it lists is compiled.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
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
    from collections.abc import Callable, Iterable, Mapping

    from fwplan.estimators.tape.size import Size
    from fwplan.estimators.tape.tape import Leaf, Tensor
    from fwplan.estimators.work.listing import Attention, Op, Product
    from fwplan.estimators.work.traffic import Traffic
    from fwplan.model.architecture import Architecture, Block, Shapes


class Numbers(NamedTuple):
    """The work of one block of given sizes: numbers, or arrays of them.

    Attributes:
        products: (outs, ins, how often) of the weights that every token is multiplied with.
        matrices: elements of them all.
        heads: of all attentions.
        attended: width of all these heads together.
        moved: bytes that a token moves between the products, forward and backward.
        kernels: all of them, the products' too.
    """

    products: tuple[tuple[Any, Any, int], ...]
    matrices: Any
    heads: Any
    attended: Any
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
        products: of a block, and how often each.
        attentions: of a block.
        eager: a block's traffic, op by op.
        fused: the same compiled.
        weights: of the whole model.
        dropout: whether there is any.
    """

    products: Counter[Product]
    attentions: list[Attention]
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
            _sum(attention.heads for attention in self.attentions),
            _sum(attention.width for attention in self.attentions),
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
    one, two = (_Forward(structure, blocks) for blocks in (1, 2))
    return Work(
        products=Counter(two.ops.products[len(one.ops.products) :]),
        attentions=two.ops.attentions[len(one.ops.attentions) :],
        eager=eager(two.inside).minus(eager(one.inside)),
        fused=fused(two.inside).minus(fused(one.inside)),
        weights=Weights(
            structure.parameters(DIMS),
            one.multiplied(one.outside) + DIMS.L * one.multiplied(one.block),
            DIMS.L * len(one.block),
        ),
        dropout=structure.dropout > 0,
    )


class _Forward:
    """The forward of a model of so many blocks: the work of one is what a second adds, as neighbours fuse."""

    def __init__(self, model: Architecture, blocks: int) -> None:
        tape = Listing(*DTYPES["bfloat16"])
        self.ops = Listed(tape)
        self.outside = _weights(tape, model.below(DIMS) | model.above(DIMS))
        self.head = self.outside[model.embedding if model.tied_embeddings else model.head]
        self.block: dict[str, Leaf] = {}
        self.inside: list[Op] = []  # the ops of the blocks

        def run(embed: Callable[[], Tensor], block: Block) -> Tensor:
            x, first = embed(), len(tape.ops)
            for _ in range(blocks):
                self.block = _weights(tape, model.block(DIMS))
                x = block(x, self.block, 0)
            self.inside = tape.ops[first:]
            return x

        model.hidden(self.ops, tape.given("batch", (B, T), INT64), self.outside, DIMS, run)

    def multiplied(self, weights: Mapping[str, Leaf]) -> Size:
        """Return the elements of those weights that multiply something: not of those that are looked up alone."""
        used = (leaf for leaf in weights.values() if leaf is self.head or leaf in self.ops.multiplied)
        return _sum(leaf.tensor.numel for leaf in used)


def _weights(tape: Listing, shapes: Shapes) -> dict[str, Leaf]:
    return {name: tape.weight(shape) for name, shape in shapes.items()}
