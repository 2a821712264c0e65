"""FLOPs of a step and, where the hardware is known, the time and energy that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.estimators.roofline import Card, micro_step, optimizer_seconds

if TYPE_CHECKING:
    from fwplan.estimators.kernels import Family
    from fwplan.model.architecture import Architecture, Dims
    from fwplan.spec import RunSpec, TrainSpec

Interval = tuple[float, float]


@dataclass(frozen=True)
class Flops:
    """Model FLOPs, forward and backward, without recomputation."""

    per_token: float
    per_step: float
    total: float | None


def model_flops(spec: RunSpec) -> Flops:
    """Return the model FLOPs of a token, a step and the run: (6 M + 12 L H D T) per token.

    M are the weights that multiply: all but position and, where the head is not tied, token embedding. Source: PaLM
    (Chowdhery et al. 2022, appendix B); attention is not halved for causality. Left out: norms, softmax, GELU, the
    embedding's gather, the optimizer.
    """
    model = spec.model
    per_token = model_per_token(model, model.dims, T=spec.sequence_length)
    per_step = per_token * spec.tokens_per_step
    return Flops(per_token, per_step, None if spec.steps is None else per_step * spec.steps)


def executed_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in a step: its share of model_flops, and checkpointing's forward."""
    model, train = spec.model, spec.train
    per_token = executed_per_token(model, train, model.dims, T=spec.sequence_length)
    return float(per_token * spec.tokens_per_step / train.world_size)


def executed_per_token(model: Architecture, train: TrainSpec, n: Dims, *, T: int) -> Any:
    """Return the FLOPs run for a token by a model of these sizes, or arrays of them.

    A recomputed block runs its forward's products again: 2 an element of its matrices, and 4 H D T.
    """
    work = model_per_token(model, n, T=T)
    if train.checkpointing == "none":
        return work
    return work + -(-n.L // train.checkpoint_every) * (2 * model.products(n) + 4 * n.H * n.D * T)


def micro_step_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in one micro-step."""
    return executed_flops(spec) / spec.train.grad_accum_steps


def model_per_token(model: Architecture, n: Dims, *, T: int) -> Any:
    """Return the model FLOPs of a token for these sizes, or arrays of them."""
    return 6 * model.multiplied(n) + 12 * n.L * n.H * n.D * T


@dataclass(frozen=True)
class CpuHardware:
    """How fast a processor runs. Intervals, not points.

    Attributes:
        flops_per_second: achieved in matrix products.
        logit_seconds: cost of one logit beyond its matrix product (memory traffic of the softmax).
    """

    flops_per_second: Interval
    logit_seconds: Interval
    watts: float | None = None


@dataclass(frozen=True)
class GpuHardware:
    """How fast a GPU runs: the slowest and the fastest card that it may be, and the prior around their roofline."""

    slow: Card
    fast: Card
    factor: Interval
    watts: float | None = None


Hardware = CpuHardware | GpuHardware

# A run's time over its roofline's: least and most. The rows that the roofline was fitted to are tuned training loops on
# idle machines, within 0.8 to 1.25 of it on the half it has not seen. Most users' runs are slower: 30-50 % of a
# GeForce's peak where the tuned ones reach 75 %.
PRIOR: dict[Family, Interval] = {"geforce": (0.85, 2.0), "hopper": (0.85, 1.5), "other": (0.85, 1.5)}


def family(*, consumer: bool, compute_capability: str) -> Family:
    """Return which efficiencies hold for a card."""
    if consumer:
        return "geforce"
    return "hopper" if compute_capability.startswith("9.") else "other"


# A CPU training step's matrix products over numpy's fp32 rate, and seconds a logit on top. Measured on 2 x86-64 cores
# (AMD EPYC, torch 2.13, eager fp32, 3 M to 124 M parameters): 0.71 without a vocabulary to speak of; 6 to 14 ns a logit
# in full, 3 ns in chunks that stay near the cache. Other processors: wider on both sides. Half precision took 0.44
# of fp32's time there; a processor without units for it takes many times longer.
_CPU_EFFICIENCY: Interval = (0.45, 0.85)
_CPU_HALF: Interval = (0.03, 1.5)
_CPU_LOGIT: dict[str, Interval] = {"full": (3e-9, 14e-9), "chunked": (1.5e-9, 5e-9)}


def cpu_hardware(train: TrainSpec, matmul_flops: float) -> CpuHardware:
    """Return the prior speed of a CPU whose fp32 matrix product was timed at matmul_flops FLOP/s."""
    low, high = _CPU_EFFICIENCY if train.dtype == "float32" else _CPU_HALF
    return CpuHardware((low * matmul_flops, high * matmul_flops), _CPU_LOGIT[train.loss])


def step_seconds(spec: RunSpec, hardware: Hardware) -> Interval:
    """Return the least and the most seconds that one optimizer step takes."""
    model, train = spec.model, spec.train
    low, high = many_step_seconds(model, train, hardware, model.dims, B=train.micro_batch_size, T=spec.sequence_length)
    return float(low), float(high)


def many_step_seconds(
    model: Architecture, train: TrainSpec, hardware: Hardware, n: Dims, *, B: Any, T: int
) -> tuple[Any, Any]:
    """Return step_seconds of runs of this mode, of micro-batch B and these sizes: numbers, or arrays of them."""
    low, high = step_parts(model, train, hardware, n, B=B, T=T)
    accumulation = train.grad_accum_steps
    return accumulation * low[0] + low[1], accumulation * high[0] + high[1]


def step_parts(
    model: Architecture,
    train: TrainSpec,
    hardware: Hardware,
    n: Dims,
    *,
    B: Any,
    T: int,
    known: dict[Any, Any] | None = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return least and most seconds, each as those of one micro-step and those of the optimizer after them.

    known keeps matrix products from one mode to the next, where the same arrays are asked for in many modes.
    """
    if isinstance(hardware, GpuHardware):
        shards = train.world_size if train.parallel in {"zero1", "fsdp"} else 1

        def parts(card: Card) -> tuple[Any, Any]:
            micro = micro_step(model, train, card, n, B=B, T=T, known=known)
            return micro.seconds, optimizer_seconds(model, train, card, n, shards=shards, ahead=micro.ahead)

        fast = parts(hardware.fast)
        slow = fast if hardware.slow == hardware.fast else parts(hardware.slow)
        low, high = hardware.factor
        return (low * fast[0], low * fast[1]), (high * slow[0], high * slow[1])
    tokens = 1.0 * B * T
    work = tokens * executed_per_token(model, train, n, T=T)
    least_rate, most_rate = hardware.flops_per_second
    logits = tokens * model.vocab_size
    least, most = (logits * seconds for seconds in hardware.logit_seconds)
    return (work / most_rate + least, 0.0), (work / least_rate + most, 0.0)


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
