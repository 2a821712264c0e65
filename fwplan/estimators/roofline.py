"""Seconds of a training step on a GPU, from its real matrix shapes: FLOPs, bytes, tiles, waves and launches.

Every function takes plain numbers or numpy arrays of them: the search asks for thousands of shapes at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.estimators import kernels
from fwplan.estimators.dtypes import DTYPES
from fwplan.spec import DEFAULT_LOSS_CHUNK_TOKENS

if TYPE_CHECKING:
    from fwplan.model.architecture import Architecture, Dims
    from fwplan.spec import TrainSpec


@dataclass(frozen=True)
class Card:
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


def product_seconds(card: Card, M: Any, N: Any, K: Any, width: int, rate: float) -> Any:
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


def product_rate(card: Card, train: TrainSpec) -> float:
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


def _three(card: Card, N: Any, K: Any, out: Any, width: int, rate: float) -> tuple[Any, Any]:
    """Return the seconds of a linear layer's forward, and of its backward's two products."""
    forward = product_seconds(card, N, out, K, width, rate)
    backward = product_seconds(card, N, K, out, width, rate) + product_seconds(card, out, K, N, width, rate)
    return forward, backward


def _block_products(card: Card, N: Any, C: Any, width: int, rate: float) -> tuple[Any, Any]:
    """Return the seconds of one block's four linear layers, forward and backward."""
    layers = [_three(card, N, k * C, out * C, width, rate) for k, out in ((1, 3), (1, 1), (1, 4), (4, 1))]
    return sum(forward for forward, _ in layers), sum(backward for _, backward in layers)


def _head_products(card: Card, N: Any, C: Any, V: int, chunk: int | None, width: int, rate: float) -> Any:
    """Return the seconds of the head's three products, at once or in chunks of tokens."""
    rows = N if chunk is None else _smaller(N, chunk)
    forward, backward = _three(card, rows, C, V, width, rate)
    return (forward + backward) * (N / rows)


def micro_step(
    model: Architecture,
    train: TrainSpec,
    card: Card,
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
    N, C, L, V = B * T, n.C, n.L, n.V
    p, a = (kind.width for kind in DTYPES[train.dtype])
    rate = product_rate(card, train)
    bandwidth = card.bandwidth * kernels.BANDWIDTH_SHARE
    chunk = None if train.loss == "full" else train.loss_chunk_tokens or DEFAULT_LOSS_CHUNK_TOKENS
    if (card, rate) not in known:
        known[card, rate] = _block_products(card, N, C, a, rate)
    if (card, rate, chunk) not in known:
        known[card, rate, chunk] = _head_products(card, N, C, V, chunk, a, rate)
    forward, backward = known[card, rate]
    linear, head = L * (forward + backward), known[card, rate, chunk]
    scores, scores_backward = _attention(model, train, card, rate, N * T * C)
    eager = 0 if train.compile else 1
    channel = kernels.CHANNEL_BYTES[eager] * (kernels.PURE_SHARE if train.dtype == "pure_bfloat16" else 1)
    between = L * N * C * channel / bandwidth
    logit = kernels.LOGIT_BYTES[train.loss][eager] * (kernels.PURE_SHARE if p == a else 1)
    logit += kernels.UNPADDED_LOGIT_BYTES if V % 8 and train.compile else 0.0
    every = train.checkpoint_every if train.checkpointing == "block" else 0
    again = (-(-L // every)) / L if every else 0.0
    blocks = L * (1 + again / 3)
    matrices = 12 * L * C * C + V * C
    per_weight = (kernels.CAST_BYTES if p != a else 0) + (kernels.ACCUMULATE_BYTES if train.grad_accum_steps > 1 else 0)
    per_block = kernels.KERNELS_PER_BLOCK[eager]
    return MicroStep(
        linear=linear,
        head=head,
        attention=L * (scores + scores_backward),
        elementwise=between,
        loss=N * V * logit / bandwidth,
        weights=matrices * per_weight / bandwidth,
        recomputed=again * (L * (forward + scores) + between / 3),
        launches=blocks * per_block * kernels.LAUNCH_SECONDS,
        host=blocks * kernels.HOST_BLOCK_SECONDS[eager],
    )


def optimizer_seconds(
    model: Architecture, train: TrainSpec, card: Card, n: Dims, *, shards: int = 1, ahead: Any = 0.0
) -> Any:
    """Return the seconds of clipping, optimizer and clearing gradients: their traffic, or the host's launches.

    A host that is `ahead` of the GPU launches a kernel for each tensor while backward still runs.
    """
    parameters = model.parameters(n)
    traffic = DTYPES[train.dtype][0].width * parameters * _passes(train) / shards
    if train.optimizer == "adamw_8bit":
        traffic = traffic + kernels.STATE_8BIT_BYTES * parameters / shards
    tensors = len(model.block(n)) * n.L
    moving, launches = traffic / (card.bandwidth * kernels.BANDWIDTH_SHARE), tensors * kernels.launch_seconds(train)
    if train.optimizer == "adamw_8bit":  # bitsandbytes waits for the GPU after each tensor: neither hides the other
        return moving + tensors * kernels.TENSOR_HOST_SECONDS + launches
    host = tensors * kernels.TENSOR_HOST_SECONDS + _larger(launches - ahead, 0.0 * tensors)
    return _larger(moving, host)


def _passes(train: TrainSpec) -> int:
    """Return how often clipping and the optimizer read or write an element of every weight."""
    kind = f"{train.optimizer}, momentum" if train.optimizer == "sgd" and train.momentum else train.optimizer
    return kernels.PASSES[kind][train.optimizer_impl] + (kernels.CLIP_PASSES if train.grad_clip else 0)


def _attention(model: Architecture, train: TrainSpec, card: Card, rate: float, causal: Any) -> tuple[Any, Any]:
    """Return the forward and backward seconds of one block's attention; causal is T^2 C over all sequences.

    Forward 2 T^2 C FLOPs a sequence (two products, half of them masked), backward 5 (five products). "math" computes
    the masked half too, and writes and reads every score several times; compiled in fp32 it is a fused kernel.
    """
    family = kernels.OF[card.family]
    fused = card.matrix_flops * family.attention
    if train.dtype == "float32":
        fused = fused / kernels.FP32_ATTENTION if card.tf32 else rate * family.attention / family.product
    fp32, masked = train.dtype == "float32", train.attention == "math"
    if masked and not (train.compile and fp32 and not model.dropout):
        forward, backward = kernels.score_bytes(train)
        scores = causal * model.n_head / model.n_embd / (card.bandwidth * kernels.BANDWIDTH_SHARE)
        return 4.0 * causal / rate + forward * scores, 8.0 * causal / rate + backward * scores
    return (1 + masked) * 2.0 * causal / fused, (1 + masked) * 5.0 * causal / fused


def _smaller(a: Any, b: int) -> Any:
    return 0.5 * (a + b - abs(a - b))
