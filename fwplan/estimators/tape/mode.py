"""What of a spec decides a mode, and the numbers that its letters stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fwplan.estimators.parameters import total_parameters
from fwplan.estimators.tape.optimizer import Optimizer
from fwplan.estimators.tape.step import DTYPES, Mode

if TYPE_CHECKING:
    from fwplan.estimators.tape.attention import Kernel
    from fwplan.estimators.tape.blocks import Recompute
    from fwplan.spec import RunSpec


def mode_of(spec: RunSpec, *, evaluates: bool, trains: bool = True) -> Mode:
    """Return the mode of a spec. A spec without a device is sized for CUDA.

    Args:
        spec: the run.
        evaluates: whether an evaluation counts, since its micro-batch is larger than a training step's.
        trains: whether it trains at all.
    """
    model, train = spec.model, spec.train
    return Mode(
        precision=train.dtype,
        bias=model.bias,
        tied=model.tied_embeddings,
        dropout=model.dropout > 0,
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

    B micro-batch, T sequence, N = B*T, C width, H heads, V vocabulary, S longest context, L blocks, P parameters,
    E micro-batch of an evaluation, n tokens of a chunk of the loss; where every n-th block is recomputed, g groups of
    blocks, k in each that keep what they computed, A of these in the top group.
    """
    model, train = spec.model, spec.train
    evaluated = train.eval_micro_batch_size or train.micro_batch_size
    return numbers(
        spec, L=model.n_layer, H=model.n_head, C=model.n_embd, B=train.micro_batch_size, E=evaluated,
        n=spec.loss_chunk_tokens,
    )  # fmt: skip


def numbers(spec: RunSpec, *, L: Any, H: Any, C: Any, B: Any, E: Any, n: Any) -> dict[str, Any]:
    """Return the same of runs like spec, but of other sizes: numbers, or arrays of them."""
    T, every = spec.sequence_length, spec.train.checkpoint_every
    return {
        "B": B, "T": T, "N": B * T, "C": C, "H": H, "V": spec.model.vocab_size, "S": spec.model.context_length, "L": L,
        "P": total_parameters(spec.model, L, C), "E": E, "n": n, "g": -(-L // every), "k": every - 1,
        "A": (L - 1) % every,
    }  # fmt: skip
