"""What of a spec decides a mode, and the numbers that its letters stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwplan.estimators.dtypes import DTYPES
from fwplan.estimators.tape.optimizer import Optimizer
from fwplan.estimators.tape.step import Mode

if TYPE_CHECKING:
    from fwplan.estimators.tape.attention import Kernel
    from fwplan.estimators.tape.blocks import Recompute
    from fwplan.model.architecture import Dims
    from fwplan.spec import RunSpec


def mode_of(spec: RunSpec, *, evaluates: bool, trains: bool = True) -> Mode:
    """Return the mode of a spec. A spec without a device is sized for CUDA.

    Args:
        spec: the run.
        evaluates: whether an evaluation counts, since its micro-batch is larger than a training step's.
        trains: whether it trains at all.
    """
    train = spec.train
    return Mode(
        model=spec.model.structure,
        precision=train.dtype,
        kernel=_kernel(spec),
        loss=train.loss,
        returns_logits=train.returns_logits,
        keeps_logits=train.keeps_logits,
        recompute=_recompute(spec),
        accumulates=train.grad_accum_steps > 1,
        optimizer=Optimizer(
            train.optimizer,
            train.optimizer_impl,
            train.momentum > 0,
            train.weight_decay > 0,
            train.world_size if train.parallel == "zero1" else 1,
        ),
        trains=trains,
        evaluates=evaluates,
        cuda=spec.device is None or spec.device.type == "cuda",
    )


def _kernel(spec: RunSpec) -> Kernel:
    if spec.materialises_scores:
        return "formula"
    half = DTYPES[spec.train.dtype][1].width == 2
    return "flash" if spec.train.attention == "flash" and half else "efficient"  # FlashAttention takes no fp32


def _recompute(spec: RunSpec) -> Recompute:
    if spec.train.checkpointing == "none":
        return "none"
    return "every block" if spec.train.checkpoint_every == 1 else "every n-th block"


def numbers_of(spec: RunSpec) -> dict[str, int]:
    """Return what the letters stand for in a run.

    Those of Dims; B micro-batch, T sequence, N = B*T, P parameters, E micro-batch of an evaluation, n tokens of a chunk
    of the loss; where every n-th block is recomputed, g groups of blocks, k in each that keep what they computed, A of
    these in the top group.
    """
    train = spec.train
    evaluated = train.eval_micro_batch_size or train.micro_batch_size
    return numbers(spec, spec.model.dims, B=train.micro_batch_size, E=evaluated, n=spec.loss_chunk_tokens)


def numbers(spec: RunSpec, dims: Dims, *, B: Any, E: Any, n: Any) -> dict[str, Any]:
    """Return the same of runs like spec, but of other sizes: numbers, or arrays of them."""
    T, every, L = spec.sequence_length, spec.train.checkpoint_every, dims.L
    return dims._asdict() | {
        "B": B, "T": T, "N": B * T, "P": spec.model.parameters(dims), "E": E, "n": n, "g": -(-L // every),
        "k": every - 1, "A": (L - 1) % every,
    }  # fmt: skip
