"""The handful of numbers that every memory formula is written in."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

from fwplan.estimators.dtypes import DTYPES
from fwplan.model.architecture import elements

if TYPE_CHECKING:
    from fwplan.spec import RunSpec


class Sizes(NamedTuple):  # made for every estimate: a frozen dataclass takes 5 us longer
    """A RunSpec in the formulas' letters.

    B micro-batch, T sequence, N = B*T, C width, H heads, L blocks, V vocabulary, n tokens in a chunk of the loss;
    P parameters, W of one block; p, r, a bytes per element of weights, residual stream and matmul tensors;
    R of the L blocks are recomputed in backward and K = L - R keep what they computed.
    """

    B: int
    T: int
    N: int
    C: int
    H: int
    L: int
    V: int
    n: int
    P: int
    W: int
    positions: int  # elements of the position embedding
    linear: int  # elements of one block's matrices and biases: what autocast copies
    p: int
    r: int
    a: int
    p_dtype: str
    r_dtype: str
    a_dtype: str
    K: int
    R: int
    autocast: bool
    accumulates: bool
    tied: bool
    chunked: bool
    compiled: bool
    cuda: bool
    recomputes: bool  # some blocks in backward
    recomputes_top: bool
    evaluates: bool  # with a larger micro-batch than a training step's; else a step needs more
    evaluated: int  # tokens of that micro-batch, else 0

    def letters(self) -> dict[str, Any]:
        """Return what a line's formula may name, beside max(): these fields, and M, the tokens that are evaluated."""
        return self._asdict() | {"M": self.evaluated or self.N}


def largest(*values: int) -> int:
    """Return the largest of the values; of arrays, element by element."""
    if all(isinstance(value, int) for value in values):
        return max(values)
    return reduce(_larger, values)


def smaller(a: int, b: int) -> int:
    """Return the smaller of two values; of arrays, element by element."""
    return a + b - largest(a, b)


def _larger(a: Any, b: Any) -> Any:
    return (a + b + abs(a - b)) >> 1  # a comparison's booleans would cost numpy a cast of all


def sizes(spec: RunSpec) -> Sizes:
    """Return the spec's Sizes. A spec without a device is sized for CUDA."""
    model, train = spec.model, spec.train
    C, L = model.n_embd, model.n_layer
    weights, products = DTYPES[train.dtype]
    evaluated = _evaluated_tokens(spec)
    every = train.checkpoint_every if train.checkpointing == "block" else 0
    R = -(-L // every) if every else 0
    return Sizes(
        B=train.micro_batch_size,
        T=spec.sequence_length,
        N=spec.tokens_per_micro_batch,
        C=C,
        H=model.n_head,
        L=L,
        V=model.vocab_size,
        n=spec.loss_chunk_tokens,
        P=model.parameters(model.dims),
        W=elements(model.block(model.dims)),
        positions=model.context_length * C,
        linear=12 * C * C + (9 * C if model.bias else 0),
        p=weights.width,
        r=weights.width,  # the residual stream is as wide as the embeddings' weights
        a=products.width,
        p_dtype=weights.name,
        r_dtype=weights.name,
        a_dtype=products.name,
        K=L - R,
        R=R,
        autocast=weights != products,
        accumulates=train.grad_accum_steps > 1,
        tied=model.tied_embeddings,
        chunked=train.loss == "chunked",
        compiled=train.compile,
        cuda=spec.device is None or spec.device.type == "cuda",
        recomputes=every > 0,
        recomputes_top=bool(every) and (L - 1) % every == 0,
        evaluates=evaluated > 0,
        evaluated=evaluated,
    )


def _evaluated_tokens(spec: RunSpec) -> int:
    """Return the tokens of an evaluation's micro-batch, or 0 where a training step's cannot need less."""
    size = spec.train.eval_micro_batch_size or 0
    return size * spec.sequence_length if size > spec.train.micro_batch_size else 0
