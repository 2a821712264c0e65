"""FLOPs of a step and, where the hardware is known, the time and energy that it takes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.estimators.roofline import Rates, micro_step, optimizer_seconds
from fwplan.estimators.work.work import work_of
from fwplan.optimizers.effort import Weights
from fwplan.spec import defaults

if TYPE_CHECKING:
    from fwplan.estimators.kernels import Family
    from fwplan.estimators.work.work import Numbers
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

    M are the weights that multiply, all but those that are looked up alone; of a layer that looks back only so far,
    that is its T. Source: PaLM (Chowdhery et al. 2022, appendix B); attention is not halved for causality. Left out:
    norms, softmax, activations, the embedding's gather, the optimizer.
    """
    model = spec.model
    per_token = model_per_token(model, model.dims, T=spec.sequence_length)
    per_step = per_token * spec.tokens_per_step
    return Flops(per_token, per_step, None if spec.steps is None else per_step * spec.steps)


def executed_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in a step: its share of model_flops, and checkpointing's forward."""
    model, train = spec.model, spec.train
    per_token = executed_per_token(model, train, model.dims, T=spec.sequence_length)
    return float(per_token * spec.tokens_per_step / train.parallel.world_size)


def executed_per_token(model: Architecture, train: TrainSpec, n: Dims, *, T: int) -> Any:
    """Return the FLOPs run for a token by a model of these sizes, or arrays of them.

    A recomputed block runs its forward's products again: 2 an element of its matrices, and 4 H D T.
    """
    work = model_per_token(model, n, T=T)
    if train.checkpointing == "none":
        return work
    block = work_of(model.structure(T)).of_block(n, compiled=train.compile)
    again = block.times * -(-n.L // train.checkpoint_every) / n.L
    return work + again * (2 * block.matrices + 4 * _reach(model, block, n, T))


def micro_step_flops(spec: RunSpec) -> float:
    """Return the FLOPs that one process runs in one micro-step."""
    return executed_flops(spec) / spec.train.grad_accum_steps


def model_per_token(model: Architecture, n: Dims, *, T: int) -> Any:
    """Return the model FLOPs of a token for these sizes, or arrays of them."""
    work = work_of(model.structure(T))
    block = work.of_block(n, compiled=True)
    return 6 * work.weights_of(n).multiplied + 12 * block.times * _reach(model, block, n, T)


def _reach(model: Architecture, block: Numbers, n: Dims, T: int) -> Any:
    """Return how many elements of keys a token's queries look at, masked ones among them: H D T, or less in windows."""
    return block.attended * T - block.windowed * (T - model.window(n))


@dataclass(frozen=True)
class CpuSpeed:
    """How fast a processor runs. Intervals, not points.

    Attributes:
        flops_per_second: achieved in matrix products.
        logit_seconds: cost of one logit beyond its matrix product (memory traffic of the softmax).
    """

    flops_per_second: Interval
    logit_seconds: Interval
    watts: float | None = None


@dataclass(frozen=True)
class GpuSpeed:
    """How fast a GPU runs: the slowest and the fastest card that it may be, and the prior around their roofline."""

    slow: Rates
    fast: Rates
    factor: Interval
    watts: float | None = None


Speed = CpuSpeed | GpuSpeed

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


def cpu_speed(train: TrainSpec, matmul_flops: float) -> CpuSpeed:
    """Return the prior speed of a CPU whose fp32 matrix product was timed at matmul_flops FLOP/s."""
    low, high = _CPU_EFFICIENCY if train.dtype == "float32" else _CPU_HALF
    return CpuSpeed((low * matmul_flops, high * matmul_flops), _CPU_LOGIT[train.loss.name])


def step_seconds(spec: RunSpec, hardware: Speed) -> Interval:
    """Return the least and the most seconds that one optimizer step takes."""
    model, train = spec.model, spec.train
    low, high = many_step_seconds(model, train, hardware, model.dims, B=train.micro_batch_size, T=spec.sequence_length)
    return float(low), float(high)


def many_step_seconds(
    model: Architecture, train: TrainSpec, hardware: Speed, n: Dims, *, B: Any, T: int
) -> tuple[Any, Any]:
    """Return step_seconds of runs of this mode, of micro-batch B and these sizes: numbers, or arrays of them."""
    low, high = step_parts(model, train, hardware, n, B=B, T=T)
    accumulation = train.grad_accum_steps
    return accumulation * low[0] + low[1], accumulation * high[0] + high[1]


def step_parts(
    model: Architecture,
    train: TrainSpec,
    hardware: Speed,
    n: Dims,
    *,
    B: Any,
    T: int,
    known: dict[Any, Any] | None = None,
) -> tuple[tuple[Any, Any], tuple[Any, Any]]:
    """Return least and most seconds, each as those of one micro-step and those of the optimizer after them.

    known keeps matrix products from one mode to the next, where the same arrays are asked for in many modes.
    """
    work = work_of(model.structure(T))
    whole, block = work.weights_of(n), work.of_block(n, compiled=train.compile)
    matrices = [(outs, ins, times * block.times) for outs, ins, times in block.products]
    weights = Weights(whole.elements, whole.tensors, matrices)
    if isinstance(hardware, GpuSpeed):
        shards = train.parallel.update_shards

        def parts(card: Rates) -> tuple[Any, Any]:
            micro = micro_step(work, train, card, n, B=B, T=T, known=known)
            return micro.seconds, optimizer_seconds(train, card, weights, shards=shards, ahead=micro.ahead)

        fast = parts(hardware.fast)
        slow = fast if hardware.slow == hardware.fast else parts(hardware.slow)
        low, high = hardware.factor
        return (low * fast[0], low * fast[1]), (high * slow[0], high * slow[1])
    tokens = 1.0 * B * T
    flops = tokens * executed_per_token(model, train, n, T=T)
    own = 1.0 * sum(2 * times * M * N * K for M, N, K, times in train.optimizer.effort(weights).products)
    least_rate, most_rate = hardware.flops_per_second
    logits = tokens * model.vocab_size
    least, most = (logits * seconds for seconds in hardware.logit_seconds)
    return (flops / most_rate + least, own / most_rate), (flops / least_rate + most, own / least_rate)


def evaluation_share(spec: RunSpec) -> float:
    """Return the time that evaluations add to the steps, as a share: forwards only, a third of a micro-step each."""
    train = spec.train
    interval = spec.eval_interval
    if interval is None:
        return 0.0
    size: float = defaults.eval_micro_batch_size(train) / train.micro_batch_size
    return train.eval_batches * size / 3 / (train.grad_accum_steps * interval)


def middle(interval: Interval) -> float:
    """Return the geometric mean of an interval's ends."""
    return math.sqrt(interval[0] * interval[1])


def energy_kwh(seconds: Interval, watts: float | None, world_size: int) -> Interval | None:
    """Return the electrical energy in kWh at the card's full board power; None where that is unknown."""
    if watts is None:
        return None
    return seconds[0] * watts * world_size / 3.6e6, seconds[1] * watts * world_size / 3.6e6
