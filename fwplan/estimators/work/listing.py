"""What a forward does, op by op: the eager ops run once on a tape that writes down what each reads, makes and keeps.

The ops are those of memory (tape/eager.py): a new one is counted as soon as it is there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal, NamedTuple

from fwplan.tape.attention import STATISTICS
from fwplan.tape.dtypes import INT64
from fwplan.tape.eager import Eager
from fwplan.tape.size import ONE
from fwplan.tape.tape import Node, Tape, Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.tape.attention import Sharing
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Backward, Kept, Kind, Leaf, Shape, Storage

OpKind = Literal["pointwise", "view", "weight", "product", "attention"]


class Product(NamedTuple):
    """A product of all tokens with a weight (outs, ins)."""

    outs: Size
    ins: Size


class Attention(NamedTuple):
    """Causal attention: heads of queries, their width together, and whether each token looks back only so far."""

    heads: Size
    width: Size
    windowed: bool


@dataclass(frozen=True, eq=False)
class Op:
    """One op, and its backward.

    Attributes:
        kind: "pointwise" computes on what each token has, norms among them; "weight" on weights alone, such as a cast.
        reads: the tensors of tokens that it takes.
        out: what it returns, and by which node.
        made: what its forward makes, its output among it; a view makes nothing.
        kept: what its backward reads beside the gradient of its output.
        gradients: what its backward makes: those of its inputs, and what it needs for them.
    """

    kind: OpKind
    reads: tuple[Tensor, ...]
    out: Tensor
    made: tuple[Storage, ...]
    kept: tuple[Storage, ...]
    gradients: tuple[Storage, ...]


class Listing(Tape):
    """A tape that lists ops. Nothing is played back: an op's backward is run at once, to see what it makes."""

    def __init__(self, weights: Dtype, products: Dtype) -> None:
        super().__init__(weights, products, cuda=True)
        self.ops: list[Op] = []
        self._made: list[Storage] = []

    def note(self, kind: Kind, count: Size, *, made: bool = False) -> None:
        """Keep no book of what is alive."""

    def new(self, name: str, shape: Shape, dtype: Dtype, count: Size = ONE) -> Storage:
        """Return fresh memory, made by the op to come."""
        self._made.append(super().new(name, shape, dtype, count))
        return self._made[-1]

    def given(self, name: str, shape: Shape, dtype: Dtype) -> Tensor:
        """Return a tensor that no op makes."""
        tensor = self.make(name, shape, dtype)
        self._made.clear()
        return tensor

    def weight(self, shape: Iterable[Size | int], count: Size = ONE, dtype: Dtype | None = None) -> Leaf:
        """Return a weight, which no op makes."""
        leaf = super().weight(shape, count, dtype)
        self._made.clear()
        return leaf

    def op(
        self,
        inputs: list[Tensor | None],
        out: Tensor,
        backward: Backward,
        kept: Kept | None = None,
        *,
        outputs: int = 1,
    ) -> Tensor:
        """Return `out`, with the op and its backward listed."""
        taken = [x for x in inputs if x is not None]
        reads = [x for x in taken if of_tokens(x.storage)]
        made, self._made = self._made, []
        keeps = tuple(kept or ())
        backward([out.alias() for _ in range(outputs)])
        gradients, self._made = self._made, []
        if any(x.node is not None for x in taken):
            out.node = Node([], backward, outputs, None)
        self.ops.append(
            Op(
                kind=_kind(out, reads),
                reads=tuple(reads),
                out=Tensor(out.storage, out.shape, out.dtype, out.node),
                made=tuple(made),
                kept=keeps,
                gradients=tuple(gradients),
            )
        )
        return out

    def buffer(self, shape: Shape, dtype: Dtype) -> Leaf:
        """Return a buffer, which no op makes."""
        leaf = super().buffer(shape, dtype)
        self._made.clear()
        return leaf

    def call_last(self, kind: OpKind) -> None:
        """Say what the last op was, where its inputs do not tell."""
        self.ops[-1] = replace(self.ops[-1], kind=kind)


class Listed(Eager):
    """The eager ops, with the matrix products and attentions noted that a roofline prices on their own."""

    def __init__(self, tape: Listing) -> None:
        super().__init__(tape, "flash")
        self.listing = tape
        self.products: list[Product] = []
        self.attentions: list[Attention] = []
        self.multiplied: set[Leaf] = set()  # 2 FLOPs an element for a token's forward, biases and norms too

    def linear(self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, keeps: str, makes: str) -> Tensor:
        """Return x @ weight.T + bias."""
        out = super().linear(x, weight, bias, keeps=keeps, makes=makes)
        self.listing.call_last("product")
        self.products.append(Product(*weight.tensor.shape))
        self._multiply(weight, bias)
        return out

    def layer_norm(
        self, x: Tensor, weight: Leaf, bias: Leaf | None = None, *, name: str = "LayerNorm", keeps: str
    ) -> Tensor:
        """Return x normalised."""
        self._multiply(weight, bias)
        return super().layer_norm(x, weight, bias, name=name, keeps=keeps)

    def rms_norm(self, x: Tensor, weight: Leaf | None = None, *, name: str = "RMSNorm", keeps: str) -> Tensor:
        """Return x over its root mean square."""
        self._multiply(weight)
        return super().rms_norm(x, weight, name=name, keeps=keeps)

    def attention(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        n_head: Size,
        dropout: float = 0.0,
        window: Size | None = None,
        sharing: Sharing = "own",
    ) -> Tensor:
        """Return causal attention by one kernel, whichever the run takes: a mode's own costs are the roofline's."""
        out = super().attention(q, k, v, n_head=n_head, dropout=dropout, window=window, sharing=sharing)
        self.listing.call_last("attention")
        self.attentions.append(Attention(n_head, q.shape[-1], window is not None))
        return out

    def _multiply(self, *weights: Leaf | None) -> None:
        self.multiplied |= {weight for weight in weights if weight is not None}


def of_tokens(storage: Storage) -> bool:
    """Return whether a tensor holds channels of every token: traffic worth counting, as statistics and ids are not."""
    return _has_channels(storage.kind)


@cache
def _has_channels(kind: Kind) -> bool:
    if kind.name == STATISTICS or kind.dtype == INT64:
        return False
    return any("B" in monomial for size in kind.shape for monomial, _ in size.terms)


def _kind(out: Tensor, reads: list[Tensor]) -> OpKind:
    if any(x.storage is out.storage for x in reads):
        return "view"
    return "pointwise" if of_tokens(out.storage) else "weight"
