"""One training step and one evaluation of a mode on a tape: everything that a mode decides, with sizes in letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwplan.estimators.phases import Phase
from fwplan.estimators.tape import optimizer
from fwplan.estimators.tape.blocks import Recompute, run_blocks, stack
from fwplan.estimators.tape.chunked import chunked_loss
from fwplan.estimators.tape.eager import Eager
from fwplan.estimators.tape.size import letter
from fwplan.estimators.tape.tape import FLOAT32, INT64, Dtype, Tape
from fwplan.model import gpt2

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fwplan.estimators.tape.attention import Kernel
    from fwplan.estimators.tape.optimizer import Optimizer
    from fwplan.estimators.tape.tape import Event, Leaf, Shape, Tensor
    from fwplan.spec import Dtype as Precision

B, T, C, H, V, S, E = (letter(name) for name in "BTCHVSE")
BFLOAT16, FLOAT16 = Dtype("bfloat16", 2), Dtype("float16", 2)
# Of weights, gradients and moments; and of what matrix products take and give.
DTYPES: dict[Precision, tuple[Dtype, Dtype]] = {
    "float32": (FLOAT32, FLOAT32),
    "bfloat16": (FLOAT32, BFLOAT16),
    "float16": (FLOAT32, FLOAT16),
    "pure_bfloat16": (BFLOAT16, BFLOAT16),
}


@dataclass(frozen=True)
class Mode:
    """All of a run but its sizes that decides what its tensors are and how long they live."""

    precision: Precision
    bias: bool
    tied: bool
    dropout: bool
    kernel: Kernel
    loss: Literal["full", "chunked"]
    returns_logits: bool
    keeps_logits: bool
    recompute: Recompute
    accumulates: bool
    optimizer: Optimizer
    trains: bool
    evaluates: bool
    cuda: bool


def record(mode: Mode) -> tuple[list[Event], set[str]]:
    """Return what is made and freed in a step of this mode, and in an evaluation before it, from the set-up on.

    With it the names of what autograd keeps.
    """
    program = _Program(mode)
    if mode.evaluates:
        program.evaluate()
    if mode.trains:
        program.step()
    return program.tape.events[: program.end], program.tape.kept


class _Program:
    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.tape = tape = Tape(*DTYPES[mode.precision], cuda=mode.cuda)
        self.ops = Eager(tape, mode.kernel)
        below, above = gpt2.outer_weights(C, V, S, bias=mode.bias, tied=mode.tied)
        self.weights = {name: tape.weight(shape) for name, shape in below.items()}
        self.blocks = stack(self.ops, gpt2.block_weights(C, bias=mode.bias), mode.recompute)
        self.weights |= {name: tape.weight(shape) for name, shape in above.items()}
        self.head = self.weights["trunk.wte.weight" if mode.tied else "lm_head.weight"]
        self.state = optimizer.state(tape, mode.optimizer) if mode.trains else []  # it is made in the first step
        self.held: list[Tensor] = []
        if mode.keeps_logits:
            self.held.append(tape.make(HELD, (B, T, V), tape.products))
        self.end = 0

    def evaluate(self) -> None:
        tape = self.tape
        tape.training, tape.phase = False, Phase.EVALUATION_BLOCK
        idx, _targets = self._batch((E, T))
        with tape.no_grad():
            self._loss(idx, Phase.EVALUATION_LOSS)
        tape.leave_autocast()
        tape.training = True
        self.end = len(tape.events)

    def step(self) -> None:
        tape = self.tape
        _total = tape.new("loss", (), FLOAT32)
        tape.phase = Phase.FORWARD
        if self.mode.accumulates:  # the first micro-step needs less than the second, which finds its gradients there
            for leaf in tape.leaves:
                leaf.grad = tape.gradient(leaf)
        idx, _targets = self._batch((B, T))
        loss = self._loss(idx, Phase.LOSS_FORWARD)
        tape.leave_autocast()
        tape.phase = Phase.LOSS_BACKWARD
        edge, loss = loss.edge, loss.alias()
        tape.backward(edge, tape.make("loss", (), FLOAT32))
        del loss, edge
        tape.phase = Phase.OPTIMIZER_STEP
        optimizer.step(tape, self.mode.optimizer)
        self.end = len(tape.events)

    def _batch(self, shape: Shape) -> tuple[Tensor, Tensor]:
        return self.tape.make("batch", shape, INT64), self.tape.make("batch", shape, INT64)

    def _loss(self, idx: Tensor, phase: Phase) -> Tensor:
        """Return the loss of a micro-batch, over the number of micro-steps."""
        ops, tape = self.ops, self.tape
        if self.mode.returns_logits and tape.training:
            loss = self._nanogpt_forward(idx, phase)
        elif self.mode.loss == "chunked":
            loss = chunked_loss(tape, self._hidden(idx, phase), self.head)
        else:
            loss = self._full_loss(self._logits(self._hidden(idx, phase)))
        return ops.pointwise(loss, "loss")

    def _full_loss(self, logits: Tensor) -> Tensor:
        wide = self.ops.cast(logits, FLOAT32, "logits in fp32")
        with self.tape.no_autocast():
            return self.ops.cross_entropy(wide)

    def _nanogpt_forward(self, idx: Tensor, phase: Phase) -> Tensor:
        """Run the forward of nanoGPT's model.py: what has a name lives to its end, the logits perhaps longer."""
        named: list[Tensor] = []
        x = self._trunk(idx, partial(gpt2.nanogpt_embed, named=named))
        self.tape.phase = phase
        logits = self._logits(x)
        loss = self.ops.cross_entropy(logits)
        if self.mode.keeps_logits:
            logits.storage.rename(HELD)
            self.held[:] = [logits]
        return loss

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.ops.linear(hidden, self.head, keeps="head input", makes="logits")
        return self.ops.watch(logits, lambda: self.tape.set_phase(Phase.HEAD_BACKWARD))

    def _hidden(self, idx: Tensor, phase: Phase) -> Tensor:
        hidden = self._trunk(idx, partial(gpt2.embed, named=[]))
        self.tape.phase = phase
        return hidden

    def _trunk(self, idx: Tensor, embed: Callable[..., Tensor]) -> Tensor:
        """Return the head's input (B, T, C)."""
        ops, dropout = self.ops, float(self.mode.dropout)

        def embedded() -> Tensor:
            return embed(ops, idx, self.weights, dropout=dropout)

        def block(x: Tensor, w: Mapping[str, Leaf]) -> Tensor:
            return gpt2.block(ops, x, w, n_head=H, dropout=dropout)

        return gpt2.final_norm(ops, run_blocks(ops, self.blocks, block, embedded), self.weights)


HELD = "logits held by the caller"
