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
from fwplan.model.growth import Growth

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwplan.spec import TrainSpec
    from fwplan.tape.attention import Sharing
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.eager import Eager
    from fwplan.tape.tape import Leaf, Tensor

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
    """A block's forward with the weights of one of them: (B, T, C) -> (B, T, C).

    `layer` says which one, where a model's blocks are not alike; else it is 0.
    """

    def __call__(self, x: Tensor, w: Mapping[str, Leaf], layer: int, /) -> Tensor:
        """Return the block's output."""


class Blocks(Protocol):
    """Runs all blocks of a model upon what `embed` returns, and returns the last one's output.

    `embed` is called in there, since whoever else held its result would keep it alive.
    """

    def __call__(self, embed: Callable[[], Tensor], block: Block, /) -> Tensor:
        """Return the top block's output (B, T, C)."""


Names = list["Tensor"]
STANDS_FOR: dict[Sharing, tuple[int, int]] = {"own": (1, 1), "one": (2, 1), "several": (4, 2)}  # heads, key-value heads


def sharing(n_head: int, n_kv_head: int | None) -> Sharing:
    """Return whether heads have keys and values of their own, all share one head of them, or several share each."""
    if n_kv_head in {None, n_head}:
        return "own"
    return "one" if n_kv_head == 1 else "several"


def key_value_heads(H: Any, n_head: int, n_kv_head: int | None) -> Any:
    """Return the key-value heads of a model like this one of H heads, or of arrays of them.

    As many heads share one as in this model; where that does not divide H, each has its own.
    """
    if sharing(n_head, n_kv_head) == "one":
        return 0 * H + 1
    shared = n_head // (n_kv_head or n_head)
    return H // (1 + (shared - 1) * (H % shared == 0))


class Architecture(Spec):
    """A decoder-only transformer's shape. Letters: L layers, H heads, C width, V vocabulary, T context."""

    n_layer: Layers  # blocks
    n_head: Heads  # heads of queries
    n_embd: Width  # width of the residual stream
    vocab_size: Vocabulary = GPT2_VOCAB  # tokens; 50,304 is GPT-2's 50,257 rounded up to a multiple of 128
    context_length: Context = 1024  # most tokens in a sequence
    tied_embeddings: bool = True  # the head is the token embedding
    dropout: Share = 0.0

    kind: ClassVar[tuple[str, ...]] = ("tied_embeddings",)  # with dropout, the fields that say what there is
    alike: ClassVar[bool] = True  # whether all blocks are; where not, n_layer is of its `kind`
    autocasts: ClassVar[bool] = True  # whether its half-precision products are autocast's, or its own casts'
    looked_up: ClassVar[frozenset[str]] = frozenset()  # of a block's weights those that are embeddings
    embedding: ClassVar[str]  # the token embedding's name among the weights below the blocks
    stack: ClassVar[str]  # of the blocks, of which the first one's weights are called `stack`.0.*
    head: ClassVar[str] = "lm_head.weight"  # where it is not tied
    grow: ClassVar[Growth] = Growth()  # what a planner may vary

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
    def block(self, n: Dims, layer: int = 0, /) -> Shapes:
        """Return the weights of a block; which one matters only where they are not alike."""

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

    def misfit(self, _train: TrainSpec, /) -> str | None:
        """Return what of a recipe such a model has no place for, as a sentence; None: nothing."""
        return None

    def held_in(self, _name: str, weights: Dtype, _products: Dtype, /) -> Dtype:
        """Return the element type of a weight of this name, given the run's of weights and of products."""
        return weights

    def buffers(self, _n: Dims, /) -> Shapes:
        """Return what lies beside the weights and is not trained, such as tables of rotary positions."""
        return {}

    def tables_in(self, products: Dtype, /) -> Dtype:
        """Return the element type of the buffers, given that of products."""
        return products

    def window(self, n: Dims, /) -> Any:
        """Return how many tokens a windowed attention looks back, in a model of these sizes: numbers, or arrays."""
        return n.S

    def capped(self, _ops: Eager, logits: Tensor, /) -> Tensor:
        """Return the logits as the loss takes them, (B, T, V)."""
        return logits

    def structure(self, T: int) -> Self:
        """Return the model without its sizes: one object for all models that differ in nothing else.

        T: tokens of a training sequence, which may decide what there is.
        """
        found: Self = _structure(type(self), self.dropout > 0, *self._kinds(T))
        return found

    def _kinds(self, _T: int, /) -> tuple[Any, ...]:
        """Return the values of `kind`; where a size is among them, one that stands for all that make no difference."""
        return tuple(getattr(self, name) for name in self.kind)

    def over_blocks(self, n: Dims, count: Callable[[Shapes], Any]) -> Any:
        """Return the sum over all blocks of what is counted of one block's weights."""
        return n.L * count(self.block(n))

    def parameters(self, n: Dims) -> Any:
        """Return the elements of all weights of a model of this kind and these sizes."""
        return elements(self.below(n)) + self.over_blocks(n, elements) + elements(self.above(n))

    def positions(self, n: Dims) -> Any:
        """Return the elements of learned positions, which nanoGPT leaves out of a model's size."""
        return 0 * n.C

    def capacity(self, n: Dims) -> Any:
        """Return the elements that a scaling law counts as the model's size: all but learned positions."""
        return self.parameters(n) - self.positions(n)


A = TypeVar("A", bound=Architecture)


def elements(shapes: Shapes) -> Any:
    """Return the elements of all these weights."""
    return sum(prod(shape) for shape in shapes.values())


@cache
def _structure(architecture: type[A], dropout: bool, *kind: Any) -> A:
    """Return an architecture of no size, whose fields of this kind are as given; never checked, never shown."""
    fields = dict(zip(architecture.kind, kind, strict=True))
    return architecture.model_construct(dropout=0.5 if dropout else 0.0, **fields)
