"""One training step and one evaluation of a mode on a tape: everything that a mode decides, with sizes in letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from fwplan.estimators.dtypes import DTYPES, FLOAT32, INT64
from fwplan.estimators.phases import Phase
from fwplan.estimators.tape import optimizer
from fwplan.estimators.tape.blocks import Recompute, run_blocks, stack
from fwplan.estimators.tape.chunked import chunked_loss
from fwplan.estimators.tape.eager import Eager
from fwplan.estimators.tape.size import letter
from fwplan.estimators.tape.tape import Tape
from fwplan.model.architecture import Dims

if TYPE_CHECKING:
    from fwplan.estimators.tape.attention import Kernel
    from fwplan.estimators.tape.optimizer import Optimizer
    from fwplan.estimators.tape.tape import Event, Shape, Tensor
    from fwplan.fields import Dtype as Precision
    from fwplan.model.architecture import Architecture, Names

B, T, V, E = (letter(name) for name in "BTVE")
DIMS = Dims(*(letter(name) for name in Dims._fields))


@dataclass(frozen=True)
class Mode:
    """All of a run but its sizes that decides what its tensors are and how long they live."""

    model: Architecture  # its structure, that is without sizes
    precision: Precision
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
        model = mode.model
        self.weights = {name: tape.weight(shape) for name, shape in model.below(DIMS).items()}
        self.blocks = stack(self.ops, model.block(DIMS), mode.recompute)
        self.weights |= {name: tape.weight(shape) for name, shape in model.above(DIMS).items()}
        self.head = self.weights[model.embedding if model.tied_embeddings else model.head]
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
        names: Names = []
        x = self._hidden(idx, phase, names)
        logits = self._logits(x)
        loss = self.ops.cross_entropy(logits)
        if self.mode.keeps_logits:
            logits.storage.rename(HELD)
            self.held[:] = [logits]
        return loss

    def _logits(self, hidden: Tensor) -> Tensor:
        logits = self.ops.linear(hidden, self.head, keeps="head input", makes="logits")
        return self.ops.watch(logits, lambda: self.tape.set_phase(Phase.HEAD_BACKWARD))

    def _hidden(self, idx: Tensor, phase: Phase, names: Names | None = None) -> Tensor:
        blocks = partial(run_blocks, self.ops, self.blocks)
        hidden = self.mode.model.hidden(self.ops, idx, self.weights, DIMS, blocks, names=names)
        self.tape.phase = phase
        return hidden


HELD = "logits held by the caller"
