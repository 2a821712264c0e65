"""What an architecture says of itself: its shape, its weights, and its forward as ops.

A subclass is one model, written once: the same lines are run on a tape, where sizes are letters, and counted with
numbers or with arrays of them (fwplan/estimators). Its methods ask `self` for what kind of model it is (biases, a tied
head), and a Dims for how large it is.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self, TypeVar

from fwplan.fields import GPT2_VOCAB, Context, Heads, Layers, Share, Spec, Vocabulary, Width

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwplan.estimators.tape.eager import Eager
    from fwplan.estimators.tape.tape import Leaf, Tensor

Shapes = dict[str, tuple[Any, ...]]  # of weights by name, in numbers, arrays or letters


class Dims(NamedTuple):
    """A model's sizes: integers, arrays of them, or letters.

    L blocks, C width, H heads, G key-value heads, D width of a head, F width between the feed-forward's products,
    V vocabulary, S longest context.
    """

    L: Any
    C: Any
    H: Any
    G: Any
    D: Any
    F: Any
    V: Any
    S: Any


class Block(Protocol):
    """A block's forward with the weights of one of them: (B, T, C) -> (B, T, C)."""

    def __call__(self, x: Tensor, w: Mapping[str, Leaf], /) -> Tensor:
        """Return the block's output."""


class Blocks(Protocol):
    """Runs all blocks of a model upon what `embed` returns, and returns the last one's output.

    `embed` is called in there, since whoever else held its result would keep it alive.
    """

    def __call__(self, embed: Callable[[], Tensor], block: Block, /) -> Tensor:
        """Return the top block's output (B, T, C)."""


Names = list["Tensor"]


class Architecture(Spec):
    """A decoder-only transformer's shape. Letters: L layers, H heads, C width, V vocabulary, T context."""

    n_layer: Layers
    n_head: Heads
    n_embd: Width
    vocab_size: Vocabulary = GPT2_VOCAB
    context_length: Context = 1024
    tied_embeddings: bool = True
    dropout: Share = 0.0

    kind: ClassVar[tuple[str, ...]] = ("tied_embeddings",)  # with dropout, the fields that say what there is
    embedding: ClassVar[str]  # the token embedding's name among the weights below the blocks
    head: ClassVar[str]  # and of the head's, where it is not tied

    def _heads_divide_width(self) -> Self:
        """Return this shape, or raise ValueError: most architectures cut their width into heads."""
        if self.n_embd % self.n_head:
            below = [h for h in range(1, self.n_head) if self.n_embd % h == 0]
            above = (
                next(h for h in range(self.n_head + 1, self.n_embd + 1) if self.n_embd % h == 0)
                if (self.n_head < self.n_embd)
                else self.n_embd
            )
            options = " or ".join(str(h) for h in dict.fromkeys((*below[-1:], above)))
            raise ValueError(
                f"n_embd {self.n_embd} is not divisible by n_head {self.n_head}: "
                f"this model cannot be built; n_head {options} would divide it"
            )
        return self

    @property
    def dims(self) -> Dims:
        """The sizes, as integers."""
        return self.sized(self.n_layer, self.n_head, self.n_embd)

    @abstractmethod
    def sized(self, L: Any, H: Any, C: Any) -> Dims:
        """Return the sizes of a model like this one of another depth, heads and width, or of arrays of them."""

    @abstractmethod
    def below(self, n: Dims) -> Shapes:
        """Return the weights below the blocks."""

    @abstractmethod
    def block(self, n: Dims) -> Shapes:
        """Return the weights of a block."""

    @abstractmethod
    def above(self, n: Dims) -> Shapes:
        """Return the weights above the blocks; a tied head is the token embedding, once."""

    @abstractmethod
    def hidden(
        self, ops: Eager, idx: Tensor, w: Mapping[str, Leaf], n: Dims, blocks: Blocks, *, names: Names | None = None
    ) -> Tensor:
        """Return the head's input (B, T, C) for token ids (B, T).

        names: where the forward and the loss are one function that gives what it makes a name, as nanoGPT's model.py
        does, takes what has one and so lives to its end.
        """

    @property
    def not_multiplied(self) -> frozenset[str]:
        """Weights that are looked up and never multiplied: no FLOPs."""
        return frozenset() if self.tied_embeddings else frozenset({self.embedding})

    @property
    def structure(self) -> Self:
        """The model without its sizes: one object for all models that differ in nothing else."""
        found: Self = _structure(type(self), self.dropout > 0, *[getattr(self, name) for name in self.kind])
        return found

    def parameters(self, n: Dims) -> Any:
        """Return the elements of all weights of a model of this kind and these sizes."""
        return elements(self.below(n)) + n.L * elements(self.block(n)) + elements(self.above(n))

    def positions(self, n: Dims) -> Any:
        """Return the elements of learned positions, which nanoGPT leaves out of a model's size."""
        return 0 * n.C

    def products(self, n: Dims) -> Any:
        """Return the elements of a block's matrices."""
        return sum(prod(shape) for shape in self.block(n).values() if len(shape) > 1)

    def multiplied(self, n: Dims) -> Any:
        """Return the elements of those weights that a token's forward multiplies by: 2 FLOPs each."""
        outer = {k: v for k, v in (self.below(n) | self.above(n)).items() if k not in self.not_multiplied}
        return elements(outer) + n.L * elements(self.block(n))


A = TypeVar("A", bound=Architecture)


def elements(shapes: Shapes) -> Any:
    """Return the elements of all these weights."""
    return sum(prod(shape) for shape in shapes.values())


@cache
def _structure(architecture: type[A], dropout: bool, *kind: Any) -> A:
    """Return an architecture of no size, whose fields of this kind are as given; never checked, never shown."""
    fields = dict(zip(architecture.kind, kind, strict=True))
    return architecture.model_construct(dropout=0.5 if dropout else 0.0, **fields)
