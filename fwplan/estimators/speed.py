"""FLOPs of a step and, where the hardware is known, the time and energy that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.estimators.parameters import count_parameters

if TYPE_CHECKING:
    from fwplan.spec import RunSpec

Interval = tuple[float, float]


@dataclass(frozen=True)
class Flops:
    """Model FLOPs, forward and backward, without recomputation."""

    per_token: float
    per_step: float
    total: float | None


def model_flops(spec: RunSpec) -> Flops:
    """Return the model FLOPs of a token, a step and the run: (6 M + 12 L C T) per token.

    M are the weights that multiply: all but position and, where the head is not tied, token embedding. Source: PaLM
    (Chowdhery et al. 2022, appendix B); attention is not halved for causality. Left out: norms, softmax, GELU, the
    embedding's gather, the optimizer.
    """
    model = spec.model
    multiplied = count_parameters(model).non_position
    if not model.tied_embeddings:
        multiplied -= model.vocab_size * model.n_embd
    per_token = 6 * multiplied + 12 * model.n_layer * model.n_embd * spec.sequence_length
    per_step = per_token * spec.tokens_per_step
    return Flops(per_token, per_step, None if spec.steps is None else per_step * spec.steps)


def executed_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in a step: its share of model_flops plus checkpointing's second forward.

    A recomputed block runs its forward again: 24 C^2 + 4 C T per token, a third of its 72 C^2 + 12 C T.
    """
    model, train = spec.model, spec.train
    share = model_flops(spec).per_step / train.world_size
    if train.checkpointing == "none":
        return share
    recomputed = -(-model.n_layer // train.checkpoint_every)
    per_token = recomputed * (24 * model.n_embd**2 + 4 * model.n_embd * spec.sequence_length)
    return share + per_token * spec.tokens_per_step / train.world_size


def micro_step_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in one micro-step."""
    return executed_flops(spec) / spec.train.grad_accum_steps


@dataclass(frozen=True)
class Hardware:
    """How fast a device runs. Intervals, not points.

    Attributes:
        flops_per_second: achieved in matrix products.
        block_seconds: fixed cost of a block in each micro-step (kernel launches).
        logit_seconds: cost of one logit beyond its matrix product (memory traffic of the softmax).
        watts: full board power; None: unknown.
    """

    flops_per_second: Interval
    block_seconds: Interval = (0.0, 0.0)
    logit_seconds: Interval = (0.0, 0.0)
    watts: float | None = None


# MFU of well-made training loops, low and high, by kind of card. Evidence: gollem 124M on a 24 GB Ampere GeForce at
# micro-batch 32, compiled: 63,146 tokens/s, 0.76 of 71 TFLOPS; one RTX 4070 log: 49 of 58 TFLOP/s; users' runs 30-50 %.
# llm-foundry's published A100 rows 40-64 %, H100 rows 27-46 %; gollem 124M on an H100 30 %.
_MFU: dict[str, Interval] = {"geforce": (0.30, 0.82), "hopper": (0.25, 0.46), "other": (0.30, 0.62)}
# Eager against compiled: gollem's H100 ladder 0.87, nanoGPT's README 0.54.
_EAGER: Interval = (0.54, 0.87)
# fp32 without TF32, over the half-precision peak: gollem fp32 rows 0.14 (RTX 3090) and 0.02 (H100).
_FP32: Interval = (0.02, 0.14)
# Fixed cost of a micro-step per block, from micro-batch 1 to 8 of the gollem rows: 17 ms and 8 ms over 12 blocks.
_BLOCK_SECONDS: Interval = (0.6e-3, 1.4e-3)


def gpu_hardware(
    spec: RunSpec, dense_tflops: Interval, *, consumer: bool, compute_capability: float | None, watts: float | None
) -> Hardware:
    """Return the prior speed of a CUDA GPU whose dense half-precision peak is dense_tflops (one card: low == high)."""
    hopper = compute_capability is not None and 9 <= compute_capability < 10
    low, high = _MFU["geforce" if consumer else "hopper" if hopper else "other"]
    if spec.train.dtype == "float32":
        low, high = _FP32
    elif not spec.train.compile:
        low, high = low * _EAGER[0], high * _EAGER[1]
    return Hardware((low * dense_tflops[0] * 1e12, high * dense_tflops[1] * 1e12), _BLOCK_SECONDS, watts=watts)


# A CPU training step's matrix products over numpy's fp32 rate, and seconds a logit on top. Measured on 2 x86-64 cores
# (AMD EPYC, torch 2.13, eager fp32, 3 M to 124 M parameters): 0.71 without a vocabulary to speak of; 6 to 14 ns a logit
# in full, 3 ns in chunks that stay near the cache. Other processors: wider on both sides. Half precision took 0.44
# of fp32's time there; a processor without units for it takes many times longer.
_CPU_EFFICIENCY: Interval = (0.45, 0.85)
_CPU_HALF: Interval = (0.03, 1.5)
_CPU_LOGIT: dict[str, Interval] = {"full": (3e-9, 14e-9), "chunked": (1.5e-9, 5e-9)}


def cpu_hardware(spec: RunSpec, matmul_flops: float) -> Hardware:
    """Return the prior speed of a CPU whose fp32 matrix product was timed at matmul_flops FLOP/s."""
    low, high = _CPU_EFFICIENCY if spec.train.dtype == "float32" else _CPU_HALF
    return Hardware((low * matmul_flops, high * matmul_flops), logit_seconds=_CPU_LOGIT[spec.train.loss])


def step_seconds(spec: RunSpec, hardware: Hardware) -> Interval:
    """Return the least and the most seconds that one optimizer step takes."""
    work = executed_flops(spec)
    launches = spec.train.grad_accum_steps * spec.model.n_layer
    logits = spec.tokens_per_step // spec.train.world_size * spec.model.vocab_size
    slow, fast = hardware.flops_per_second
    (block_low, block_high), (logit_low, logit_high) = hardware.block_seconds, hardware.logit_seconds
    low = work / fast + launches * block_low + logits * logit_low
    return low, work / slow + launches * block_high + logits * logit_high


def evaluation_share(spec: RunSpec) -> float:
    """Return the time that evaluations add to the steps, as a share: forwards only, a third of a micro-step each."""
    train = spec.train
    interval = spec.eval_interval
    if interval is None:
        return 0.0
    size = (train.eval_micro_batch_size or train.micro_batch_size) / train.micro_batch_size
    return train.eval_batches * size / 3 / (train.grad_accum_steps * interval)


def middle(interval: Interval) -> float:
    """Return the geometric mean of an interval's ends."""
    return math.sqrt(interval[0] * interval[1])


def energy_kwh(seconds: Interval, watts: float | None, world_size: int) -> Interval | None:
    """Return the electrical energy in kWh at the card's full board power; None where that is unknown."""
    if watts is None:
        return None
    return seconds[0] * watts * world_size / 3.6e6, seconds[1] * watts * world_size / 3.6e6
