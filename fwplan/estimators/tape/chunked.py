"""The chunked loss of fwplan/model/loss.py on a tape: its gradients are made in the forward, a chunk at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.dtypes import FLOAT32
from fwplan.estimators.phases import Phase
from fwplan.estimators.tape.size import ONE, letter

if TYPE_CHECKING:
    from fwplan.estimators.tape.size import Size
    from fwplan.estimators.tape.tape import Gradients, Leaf, Tape, Tensor

n = letter("n")  # tokens of a chunk


def chunked_loss(tape: Tape, x: Tensor, weight: Leaf) -> Tensor:
    """Return the mean loss of x @ weight.T; x (N, C), weight (V, C). One chunk is run: the others are as it was."""
    shape, (V, C), dtype, own = x.shape, weight.tensor.shape, tape.products, x.dtype
    grads = tape.recording
    w = tape.new("chunk: weight copy, head", (V, C), dtype) if tape.autocast else None
    losses = tape.new("loss", (ONE,), FLOAT32)
    gx = tape.make("gradient: hidden states", shape, dtype) if grads else None
    gw = tape.make("gradient: head, accumulating", (V, C), FLOAT32) if grads else None
    _chunk(tape, C, V, grads=grads)
    del w, losses
    kept: Gradients = [gx, gw]
    del gx, gw

    def backward(given: Gradients) -> Gradients:
        ours, head = kept
        kept.clear()
        if ours is not None and ours.dtype != own:
            ours = tape.make("gradient: hidden states, cast", shape, own)
        if head is not None and head.dtype != tape.weights:
            head = tape.make("gradient: head", (V, C), tape.weights)
        given.clear()
        return [ours, head]

    return tape.op([x, weight.tensor], tape.make("loss", (ONE,), FLOAT32), backward)


def _chunk(tape: Tape, C: Size, V: Size, *, grads: bool) -> None:
    """Run one chunk of n tokens: logits, log-probabilities in fp32, and with gradients the two products of them."""
    dtype, narrow = tape.products, tape.products != FLOAT32
    hidden = tape.new("chunk: input", (n, C), dtype) if tape.autocast else None
    logits = tape.new("chunk: logits", (n, V), dtype)
    wide = tape.new("chunk: logits in fp32", (n, V), FLOAT32) if narrow else logits
    if not narrow:
        wide.rename("chunk: logits in fp32")
    del logits
    log_probs = tape.new("chunk: log-probabilities", (n, V), FLOAT32)
    del wide
    if not grads:
        return
    phase, tape.phase = tape.phase, Phase.LOSS_WEIGHT_GRADIENT
    if narrow:
        gradient = tape.new("chunk: gradient, logits", (n, V), dtype)
    else:
        log_probs.rename("chunk: gradient, logits")
        gradient = log_probs
    del log_probs
    if narrow:  # in fp32 the outer product is added to the sum in place
        outer = tape.new("chunk: gradient, head", (V, C), dtype)
        if not tape.cuda:
            wide_outer = tape.new("chunk: gradient, head in fp32", (V, C), FLOAT32)  # an in-place add of mixed types
            del wide_outer
        del outer
    del gradient, hidden
    tape.phase = phase
