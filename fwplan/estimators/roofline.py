"""Seconds of a training step on a GPU, from its real matrix shapes: FLOPs, bytes, tiles, waves and launches.

Every function takes plain numbers or numpy arrays of them: the search asks for thousands of shapes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.estimators import kernels
from fwplan.spec import defaults
from fwplan.tape.dtypes import DTYPES

if TYPE_CHECKING:
    from fwplan.estimators.work.work import Numbers, Work
    from fwplan.model.architecture import Dims
    from fwplan.optimizers.effort import Effort, Weights
    from fwplan.spec import TrainSpec


@dataclass(frozen=True)
class Rates:
    """What the roofline asks of a GPU.

    Attributes:
        matrix_flops: dense half-precision peak with fp32 accumulation, FLOP/s.
        fp32_flops: peak of plain fp32 products, FLOP/s.
        bf16: whether its matrix units take bf16; others emulate it.
        tf32: whether they take fp32 as TF32.
        bandwidth: of its memory, bytes/s.
        multiprocessors: SMs, which share a product's tiles in waves.
        family: which efficiencies of kernels.py hold: "geforce", "hopper" or "other".
    """

    matrix_flops: float
    fp32_flops: float
    bf16: bool
    tf32: bool
    bandwidth: float
    multiprocessors: int
    family: kernels.Family


@dataclass(frozen=True)
class MicroStep:
    """Seconds of one micro-step's parts on the GPU, forward and backward; and the host's, which launches them."""

    linear: Any
    head: Any
    attention: Any
    elementwise: Any  # memory traffic between the products of the blocks
    loss: Any
    weights: Any  # casts of the weights, accumulation of their gradients
    recomputed: Any
    launches: Any  # fixed cost of the kernels
    host: Any

    @property
    def seconds(self) -> Any:
        """What the micro-step takes: the GPU's work, or the host's where the GPU waits for it."""
        return _larger(self.gpu, self.host)

    @property
    def gpu(self) -> Any:
        """The GPU's work alone."""
        work = self.linear + self.head + self.attention + self.elementwise + self.loss + self.weights
        return work + self.recomputed + self.launches

    @property
    def ahead(self) -> Any:
        """How far the host is ahead of the GPU when all of the micro-step is launched."""
        return _larger(self.gpu - self.host, 0.0 * self.host)


def product_seconds(card: Rates, M: Any, N: Any, K: Any, width: int, rate: float) -> Any:
    """Return the seconds of an (M, K) x (K, N) product of elements of `width` bytes at rate FLOP/s when full.

    The result is cut into tiles of 128 x 128, each the work of one SM; the last wave of them runs as long as a full
    one, of which kernels.WASTE_CHARGED is charged: cuBLAS can take smaller tiles or split K.
    """
    tiles = -(-M // 128) * -(-N // 128)
    sms = card.multiprocessors
    waste = -(-tiles // sms) * sms * 128.0 * 128.0 / (M * N * 1.0)
    compute = 2.0 * M * N * K / rate * (1 + kernels.WASTE_CHARGED * (waste - 1))
    traffic = width * (1.0 * M * K + 1.0 * N * K + 1.0 * M * N) / (card.bandwidth * kernels.BANDWIDTH_SHARE)
    return _larger(compute, traffic)


def product_rate(card: Rates, train: TrainSpec) -> float:
    """Return the FLOP/s of full products in this mode: on matrix units, in TF32 at half their rate, or in plain fp32.

    Plain fp32 is PyTorch's default, and what bf16 is converted to where the card has no units for it.
    """
    share = kernels.OF[card.family]
    plain = card.fp32_flops * share.fp32
    if train.dtype == "float32":
        return card.matrix_flops / 2 * share.product if train.tf32 and card.tf32 else plain
    return card.matrix_flops * share.product if card.bf16 or train.dtype == "float16" else plain


def _larger(a: Any, b: Any) -> Any:
    if isinstance(a, int | float) and isinstance(b, int | float):
        return max(a, b)
    return 0.5 * (a + b + abs(a - b))  # a comparison's booleans would cost numpy a cast of all


def _three(card: Rates, N: Any, K: Any, out: Any, width: int, rate: float) -> tuple[Any, Any]:
    """Return the seconds of a linear layer's forward, and of its backward's two products."""
    forward = product_seconds(card, N, out, K, width, rate)
    backward = product_seconds(card, N, K, out, width, rate) + product_seconds(card, out, K, N, width, rate)
    return forward, backward


def _block_products(card: Rates, N: Any, block: Numbers, width: int, rate: float) -> tuple[Any, Any]:
    """Return the seconds of one block's linear layers, forward and backward."""
    forward = backward = 0.0
    for outs, ins, times in block.products:
        there, back = _three(card, N, ins, outs, width, rate)
        forward, backward = forward + there * times, backward + back * times
    return forward, backward


def _head_products(card: Rates, N: Any, C: Any, V: int, chunk: int | None, width: int, rate: float) -> Any:
    """Return the seconds of the head's three products, at once or in chunks of tokens."""
    rows = N if chunk is None else _smaller(N, chunk)
    forward, backward = _three(card, rows, C, V, width, rate)
    return (forward + backward) * (N / rows)


def micro_step(
    work: Work,
    train: TrainSpec,
    card: Rates,
    n: Dims,
    *,
    B: Any,
    T: int,
    known: dict[Any, Any] | None = None,
) -> MicroStep:
    """Return the seconds of one micro-step of this mode, for micro-batch B and these sizes (or arrays of them).

    known keeps the products of the same B and C for modes that share them.
    """
    known = {} if known is None else known
    N, V = B * T, n.V
    p, a = (kind.width for kind in DTYPES[train.dtype])
    block = work.of_block(n, compiled=train.compile)
    rate = product_rate(card, train)
    bandwidth = card.bandwidth * kernels.BANDWIDTH_SHARE
    chunk = None if train.loss.name == "full" else defaults.chunk_tokens(train)
    if (card, rate) not in known:
        known[card, rate] = _block_products(card, N, block, a, rate)
    if (card, rate, chunk) not in known:
        known[card, rate, chunk] = _head_products(card, N, n.C, V, chunk, a, rate)
    forward, backward = known[card, rate]
    times, head = block.times, known[card, rate, chunk]
    scores, scores_backward = _attention(train, card, rate, block, N * T, dropout=work.dropout)
    eager = 0 if train.compile else 1
    between = times * N * block.moved * kernels.traffic_share(train) / bandwidth
    logit = kernels.LOGIT_BYTES[train.loss.name][eager] * (kernels.PURE_SHARE if p == a else 1)
    logit += kernels.UNPADDED_LOGIT_BYTES if V % 8 and train.compile else 0.0
    every = train.checkpoint_every if train.checkpointing == "block" else 0
    again = (-(-n.L // every)) / n.L if every else 0.0
    launched = times * (1 + again / 3) * block.kernels  # the forward's third; what is counted comes to 0.37
    per_weight = (kernels.CAST_BYTES if p != a else 0) + (kernels.ACCUMULATE_BYTES if train.grad_accum_steps > 1 else 0)
    return MicroStep(
        linear=times * (forward + backward),
        head=head,
        attention=times * (scores + scores_backward),
        elementwise=between,
        loss=N * V * logit / bandwidth,
        weights=(times * block.matrices + V * n.C) * per_weight / bandwidth,
        recomputed=again * (times * (forward + scores) + between / 3),
        launches=launched * kernels.LAUNCHED[eager] * kernels.LAUNCH_SECONDS,
        host=launched * kernels.HOST_KERNEL_SECONDS[eager],
    )


def optimizer_seconds(train: TrainSpec, card: Rates, weights: Weights, *, shards: int = 1, ahead: Any = 0.0) -> Any:
    """Return the seconds of clipping, optimizer and clearing gradients: what they move, or the host's launches.

    A host that is `ahead` of the GPU launches a kernel for each tensor while backward still runs.
    """
    effort = train.optimizer.effort(weights)
    elements = effort.moved + (kernels.CLIP_PASSES if train.grad_clip else 0) * weights.elements
    traffic = DTYPES[train.dtype][0].width * elements + effort.more_bytes
    moving = traffic / (card.bandwidth * kernels.BANDWIDTH_SHARE) / shards + _own_products(card, effort) / shards
    launches = effort.kernels * kernels.KERNEL_HOST_SECONDS
    if train.optimizer.waits:  # neither hides the other
        return moving + weights.tensors * kernels.TENSOR_HOST_SECONDS + launches
    host = weights.tensors * kernels.TENSOR_HOST_SECONDS + _larger(launches - ahead, 0.0 * weights.tensors)
    return _larger(moving, host)


def _own_products(card: Rates, effort: Effort) -> Any:
    """Return the seconds of an optimizer's matrix products, in bf16."""
    share = kernels.OF[card.family]
    rate = card.matrix_flops * share.product if card.bf16 else card.fp32_flops * share.fp32
    return sum(times * product_seconds(card, M, N, K, 2, rate) for M, N, K, times in effort.products)


def _attention(
    train: TrainSpec, card: Rates, rate: float, block: Numbers, pairs: Any, *, dropout: bool
) -> tuple[Any, Any]:
    """Return the forward and backward seconds of one block's attention; pairs of tokens, T^2 of each sequence.

    Forward 2 T^2 H D FLOPs a sequence (two products, half of them masked), backward 5 (five products). "math" computes
    the masked half too, and writes and reads every score several times; compiled in fp32 it is a fused kernel.
    """
    family = kernels.OF[card.family]
    fused = card.matrix_flops * family.attention
    if train.dtype == "float32":
        fused = fused / kernels.FP32_ATTENTION if card.tf32 else rate * family.attention / family.product
    fp32, masked = train.dtype == "float32", train.attention == "math"
    if masked and not (train.compile and fp32 and not dropout):
        forward, backward = kernels.score_bytes(train)
        scores = pairs * block.heads / (card.bandwidth * kernels.BANDWIDTH_SHARE)
        products = pairs * block.attended / rate
        return 4.0 * products + forward * scores, 8.0 * products + backward * scores
    whole = block.attended if masked else block.windowed  # a window is a mask too: all pairs are computed
    causal = pairs * (block.attended + whole)
    return 2.0 * causal / fused, 5.0 * causal / fused


def _smaller(a: Any, b: int) -> Any:
    return 0.5 * (a + b - abs(a - b))
