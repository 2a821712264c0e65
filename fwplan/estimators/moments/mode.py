"""What of a spec decides a mode, and the numbers that its letters stand for."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fwplan.estimators.moments.step import Compiled, Mode
from fwplan.spec import defaults
from fwplan.tape.dtypes import DTYPES
from fwplan.tape.fused import PADDED_TO

if TYPE_CHECKING:
    from fwplan.estimators.moments.blocks import Recompute
    from fwplan.model.architecture import Dims
    from fwplan.spec import RunSpec
    from fwplan.tape.attention import Kernel


def mode_of(spec: RunSpec, *, evaluates: bool, trains: bool = True) -> Mode:
    """Return the mode of a spec. A spec without a device is sized for CUDA.

    Args:
        spec: the run.
        evaluates: whether an evaluation counts, since its micro-batch is larger than a training step's.
        trains: whether it trains at all.
    """
    train, cuda = spec.train, spec.device is None or spec.device.type == "cuda"
    return Mode(
        model=spec.model.structure(spec.sequence_length),
        precision=train.dtype,
        kernel=_kernel(spec),
        loss=train.loss.name,
        loss_dtype=defaults.loss_dtype(train.loss),
        returns_logits=train.loss.returns_logits,
        keeps_logits=train.loss.keeps_logits,
        recompute=_recompute(spec),
        accumulates=train.grad_accum_steps > 1,
        optimizer=train.optimizer.structure,
        shards=train.parallel.state_shards,
        trains=trains,
        evaluates=evaluates,
        cuda=cuda,
        compiled=_compiled(spec, cuda=cuda) if train.compile else None,
    )


def _compiled(spec: RunSpec, *, cuda: bool) -> Compiled:
    """Return how a step is compiled.

    From torch 2.6 on the backward may write over what the forward has saved: seen on a processor, unconfirmed on CUDA,
    where an estimate's low end allows for it. Logits that are returned are somebody else's. Half-precision products
    pad V on CUDA, of autocast: published rows (V = 50257) show it, none of pure bf16 does.
    """
    weights, products = DTYPES[spec.train.dtype]
    pads = cuda and weights != products and spec.model.vocab_size % PADDED_TO != 0
    return Compiled(donated=not cuda and not spec.train.loss.returns_logits, pads=pads)


def donated(mode: Mode) -> Mode | None:
    """Return the mode whose logits' gradient is written over the logits, where this one's may be and is not."""
    if mode.compiled is None or mode.compiled.donated or mode.returns_logits or mode.loss == "chunked":
        return None
    return replace(mode, compiled=mode.compiled._replace(donated=True))


def _kernel(spec: RunSpec) -> Kernel:
    if spec.materialises_scores:
        return "formula"
    half = DTYPES[spec.train.dtype][1].width == 2
    return "flash" if spec.train.attention == "flash" and half else "efficient"  # FlashAttention takes no fp32


def _recompute(spec: RunSpec) -> Recompute:
    every = spec.train.checkpoint_every
    if spec.train.checkpointing == "none":
        return "none"
    if every == 1:
        return "every block"
    return "every n-th block and the topmost" if (spec.model.n_layer - 1) % every == 0 else "every n-th block"


MEANING = (
    "B micro-batch, T sequence, N = B T, C width, H heads, L blocks, V vocabulary, S longest context, P parameters, "
    "n tokens of a chunk, E micro-batch of an evaluation"
)
MEANING_GROUPS = "g groups of blocks, k in each that keep what they computed, A of these in the top one"


def meaning(spec: RunSpec) -> str:
    """Return what the letters mean, as a sentence."""
    return f"{MEANING}; {MEANING_GROUPS}." if spec.train.checkpoint_every > 1 else f"{MEANING}."


def numbers_of(spec: RunSpec) -> dict[str, int]:
    """Return what the letters stand for in a run.

    Those of Dims; B micro-batch, T sequence, N = B*T, P parameters, E micro-batch of an evaluation, n tokens of a chunk
    of the loss; where every n-th block is recomputed, g groups of blocks, k in each that keep what they computed, A of
    these in the top group.
    """
    train = spec.train
    evaluated = defaults.eval_micro_batch_size(train)
    return numbers(spec, spec.model.dims, B=train.micro_batch_size, E=evaluated, n=spec.loss_chunk_tokens)


def numbers(spec: RunSpec, dims: Dims, *, B: Any, E: Any, n: Any) -> dict[str, Any]:
    """Return the same of runs like spec, but of other sizes: numbers, or arrays of them."""
    T, every, L = spec.sequence_length, spec.train.checkpoint_every, dims.L
    return dims._asdict() | {
        "B": B, "T": T, "N": B * T, "P": spec.model.parameters(dims), "E": E, "n": n, "g": -(-L // every),
        "k": every - 1, "A": (L - 1) % every,
    }  # fmt: skip
