"""Weights, moments and gradients, and what an optimizer step needs on top of them."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from fwplan.estimators.line import Line
from fwplan.estimators.phases import EVERY_PHASE, STEP_PHASES, Phase
from fwplan.estimators.sizes import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.sizes import Sizes
    from fwplan.spec import TrainSpec

_ADAMW = "Kingma & Ba 2014, Loshchilov & Hutter 2017: two moments, each of the weight's shape and dtype"
_AUTOGRAD = "traced: AccumulateGrad adds into .grad in place; the first gradient of a step becomes .grad"
_TIED = "traced: a tied weight's head gradient waits in autograd's input buffer for the embedding's"
_TIED_SUM = (
    "traced: the sum is made in place only where the head's gradient came through autocast's cast; the gollem row "
    "'tiny256tok-float32_fused_adamw' shows it on a GPU"
)
_SGD = "one momentum buffer of the weight's shape and dtype; none where momentum is 0"
_8BIT = "bitsandbytes AdamW8bit: two bytes an element and fp32 scales for blocks of 256; fp32 below 4,096 elements"
_STEP = "torch.optim.AdamW, traced: sqrt and quotient per tensor (for_loop), for all at once (foreach), none (fused)"
_DECAYED = (
    "torch.optim.SGD, traced: gradient plus decay, per matrix (for_loop), for all at once (foreach), none (fused)"
)
_SUM = Phase.TIED_GRADIENT_SUM
_END = Phase.END_OF_BACKWARD | _SUM
_END_TO_STEP = _END | Phase.OPTIMIZER_STEP
_BOTTOM_ON = Phase.BOTTOM_BLOCK_BACKWARD | Phase.BOTTOM_ATTENTION_BACKWARD | _END
_BOTTOM_TO_STEP = _BOTTOM_ON | Phase.OPTIMIZER_STEP
_HEAD_ON = Phase.TOP_BLOCK_BACKWARD | Phase.TOP_ATTENTION_BACKWARD | _BOTTOM_ON


def persistent_lines(s: Sizes, train: TrainSpec) -> Iterator[Line]:
    """Yield what is alive in every phase: weights, AdamW's moments, the batch."""
    yield from saved_lines(s, train)
    yield Line("batch", 16 * s.N, (s.B, s.T), "int64", STEP_PHASES, "persistent", "2*8*N", "token ids and targets")
    if train.parallel in {"ddp", "zero1"}:  # torch's ZeroRedundancyOptimizer shards the moments of a model in DDP
        yield Line(
            "DDP buckets", s.p * s.P, None, s.p_dtype, EVERY_PHASE, "persistent", "p*P",
            "torch DDP keeps a flat copy of the gradients unless gradient_as_bucket_view is set", "prior",
        )  # fmt: skip


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


def gradient_lines(s: Sizes) -> Iterator[Line]:
    """Yield the gradients of the weights as backward produces them, top block first."""
    if s.accumulates:
        yield Line("gradients", s.p * s.P, None, s.p_dtype, STEP_PHASES, "persistent", "p*P", _AUTOGRAD)
    else:
        yield from _fresh_gradients(s)
    yield from _vocabulary_gradients(s)


def _fresh_gradients(s: Sizes) -> Iterator[Line]:
    """Yield the gradients that outlive their own block's backward; accumulating frees each at once."""
    yield Line(
        "gradients: upper blocks", s.p * s.W * (s.L - 1), None, s.p_dtype, _BOTTOM_TO_STEP, "saved", "p*W*(L-1)",
        _AUTOGRAD,
    )  # fmt: skip
    yield Line(
        "gradients: bottom block", s.p * (s.W + s.positions), None, s.p_dtype, _END_TO_STEP, "saved",
        "p*(W + positions)", _AUTOGRAD,
    )  # fmt: skip
    yield Line(
        "gradient: embedding", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, Phase.OPTIMIZER_STEP, "saved",
        "p*V*C", _AUTOGRAD,
    )  # fmt: skip


def _vocabulary_gradients(s: Sizes) -> Iterator[Line]:
    """Yield the two dense gradients of shape (V, C): the head's, early, and the embedding's, at the very end."""
    phases = Phase(0) if s.chunked else Phase.HEAD_BACKWARD
    if s.tied or not s.accumulates:
        phases |= _HEAD_ON
    if not s.tied and not s.accumulates:
        phases |= Phase.OPTIMIZER_STEP
    yield Line("gradient: head", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, phases, "saved", "p*V*C", _TIED)
    yield Line(
        "gradient: embedding, dense", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, _END, "transient", "p*V*C",
        "torch embedding_dense_backward: zeros of the full weight",
    )  # fmt: skip
    if s.sums_tied_gradients:
        yield Line(
            "sum of the tied gradients", s.p * s.V * s.C, (s.V, s.C), s.p_dtype, _SUM, "transient", "p*V*C", _TIED_SUM
        )


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
