"""Weights and moments of a compiled run, and what an optimizer step needs on top of them: the tape has eager ones."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from fwplan.estimators.dtypes import DTYPES
from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVERY_PHASE, STEP_PHASES, Phase
from fwplan.estimators.sizes import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import TrainSpec

_ADAMW = "Kingma & Ba 2014, Loshchilov & Hutter 2017: two moments, each of the weight's shape and dtype"
_SGD = "one momentum buffer of the weight's shape and dtype; none where momentum is 0"
_8BIT = "bitsandbytes AdamW8bit: two bytes an element and fp32 scales for blocks of 256; fp32 below 4,096 elements"
_STEP = "torch.optim.AdamW, traced: sqrt and quotient per tensor (for_loop), for all at once (foreach), none (fused)"
_DECAYED = (
    "torch.optim.SGD, traced: gradient plus decay, per matrix (for_loop), for all at once (foreach), none (fused)"
)


def persistent_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield what is alive in every phase: weights, AdamW's moments, the batch."""
    yield from saved_lines(s, train)
    yield Line("batch", 16 * s.N, (s.B, s.T), "int64", STEP_PHASES, "persistent", "2*8*N", "token ids and targets")


def bucket_lines(train: TrainSpec, parameters: int) -> list[Line]:
    """Return what DDP keeps beside the model; torch's ZeroRedundancyOptimizer shards the moments of a model in DDP."""
    if train.parallel not in {"ddp", "zero1"}:
        return []
    dtype, width = DTYPES[train.dtype][0]
    return [Line(
        "DDP buckets", width * parameters, None, dtype, EVERY_PHASE, "persistent", f"{width}*P",
        "torch DDP keeps a flat copy of the gradients unless gradient_as_bucket_view is set", "prior",
    )]  # fmt: skip


def saved_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield what a checkpoint holds too: the weights and what the optimizer remembers."""
    yield Line("weights", s.p * s.P, None, s.p_dtype, EVERY_PHASE, "persistent", "p*P", "one element a parameter")
    yield _state_line(s, train)


def _state_line(s: Sizes, train: TrainSpec) -> Line:
    """Return what the optimizer remembers from step to step."""
    shards = train.world_size if train.parallel == "zero1" else 1
    name, size, dtype, formula, source = "AdamW moments", 2 * s.p * s.P, s.p_dtype, "2*p*P", _ADAMW
    if train.optimizer == "sgd":
        has = train.momentum > 0
        name, size, formula, source = "SGD momentum", s.p * s.P * has, "p*P" if has else "0", _SGD
    elif train.optimizer == "adamw_8bit":
        name, size, dtype = "AdamW moments, 8 bits", _quantised_state(s), "uint8"
        formula, source = _quantised_formula(s), _8BIT
    if shards == 1:
        return Line(name, size, None, dtype, EVERY_PHASE, "persistent", formula, source)
    formula = f"({formula}) // {shards}"
    return Line(name, size // shards, None, dtype, EVERY_PHASE, "persistent", formula, source, "prior")


_CODES = 2048  # bytes of the two code tables


def _quantised_state(s: Sizes) -> int:
    """Return bytes of both moments of every weight in 8 bits, tensor by tensor, and of the two code tables."""
    return _CODES + sum(count * _quantised(numel) for count, numel, _ in _tensors(s))


def _tensors(s: Sizes) -> list[tuple[int, int, str]]:
    """Return how many weights there are of each number of elements, and that number's formula."""
    C, biased = s.C, s.W > 12 * s.C * s.C + 2 * s.C
    block = [
        (1, 3 * C * C, "3*C*C"), (1, C * C, "C*C"), (2, 4 * C * C, "4*C*C"),
        (2 + 4 * biased, C, "C"), (biased, 3 * C, "3*C"), (biased, 4 * C, "4*C"),
    ]  # fmt: skip
    whole = [(1 if s.tied else 2, s.V * C, "V*C"), (1, s.positions, "positions"), (1 + biased, C, "C")]
    return whole + [(count * s.L, numel, formula) for count, numel, formula in block]


def _quantised_formula(s: Sizes) -> str:
    """Return _quantised_state in letters; of arrays, whose elements differ in it, in short."""
    if not isinstance(s.P, int):
        return "2*P"
    terms = [
        f"{count}*(2*{n} + 8*-(-{n}//256))" if numel >= _QUANTISED_FROM else f"{count}*8*{n}"
        for count, numel, n in _tensors(s)
        if count
    ]
    return " + ".join([str(_CODES), *terms])


_QUANTISED_FROM = 4096  # elements of a tensor


def _quantised(numel: int) -> int:
    large = numel >= _QUANTISED_FROM
    return large * (2 * numel + 8 * -(-numel // 256)) + (1 - large) * 8 * numel


def step_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield what the optimizer step itself allocates."""
    if train.optimizer == "sgd":
        yield from _decayed_lines(s, train)
    elif train.optimizer_impl == "foreach":
        yield Line(
            "AdamW foreach denominators", s.p * s.P, None, s.p_dtype, Phase.OPTIMIZER_STEP, "transient", "p*P", _STEP
        )
    elif train.optimizer_impl == "for_loop":
        yield Line(
            "AdamW denominators", s.p * _for_loop_elements(s), None, s.p_dtype, Phase.OPTIMIZER_STEP, "transient",
            f"p*max({', '.join(_for_loop_formulas(s))})", _STEP,
        )  # fmt: skip


def _decayed_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield the gradients that SGD has added the weight decay to; biases and norms do not decay."""
    if not train.weight_decay or train.optimizer_impl == "fused":
        return
    largest_matrix = largest(s.V * s.C, 4 * s.C * s.C, s.positions)
    matrices = s.P - s.L * (s.W - 12 * s.C * s.C)
    elements, formula = (
        (matrices, "p*(P - L*(W - 12*C*C))")
        if train.optimizer_impl == "foreach"
        else (largest_matrix, "p*max(V*C, 4*C*C, positions)")
    )
    yield Line(
        "decayed gradients", s.p * elements, None, s.p_dtype, Phase.OPTIMIZER_STEP, "transient", formula, _DECAYED
    )


def _for_loop_elements(s: Sizes) -> int:
    """Return the elements of the three temporaries that for-loop AdamW holds at most, over its matrices in order.

    A weight's square root and quotient stand beside the previous weight's quotient: wte, wpe, then 3 C^2, C^2, 4 C^2,
    4 C^2 in each block, then an untied head.
    """
    C2, embedding = s.C * s.C, s.V * s.C
    sizes = [0, embedding, s.positions, 3 * C2, C2, 4 * C2, 4 * C2]  # a second block needs no more than the first
    if not s.tied:
        sizes.append(embedding)
    return largest(*(previous + 2 * current for previous, current in pairwise(sizes)))


def _for_loop_formulas(s: Sizes) -> Iterator[str]:
    """Yield the temporaries of _for_loop_elements that can be the most, in letters."""
    yield from ("2*V*C", "V*C + 2*positions", "positions + 6*C*C", "12*C*C")
    if not s.tied:
        yield "4*C*C + 2*V*C"
