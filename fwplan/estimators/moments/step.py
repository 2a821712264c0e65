"""One training step and one evaluation of a mode on a tape: everything that a mode decides, with sizes in letters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

from fwplan.estimators.moments.blocks import Recompute, one_by_one, run_blocks, stack
from fwplan.model.architecture import Dims
from fwplan.tape.chunked import chunked_loss
from fwplan.tape.dtypes import DTYPES, FLOAT32, INT64
from fwplan.tape.eager import Eager
from fwplan.tape.fused import Fused
from fwplan.tape.graph import GraphTape
from fwplan.tape.phases import Phase
from fwplan.tape.size import ONE, letter
from fwplan.tape.tape import Tape

if TYPE_CHECKING:
    from fwplan.estimators.moments.blocks import Stretch
    from fwplan.fields import Dtype as Precision
    from fwplan.model.architecture import Architecture, Names, Shapes
    from fwplan.optimizers.optimizer import Optimizer
    from fwplan.tape.attention import Kernel
    from fwplan.tape.dtypes import Dtype
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Event, Leaf, Shape, Tensor

B, T, V, E = (letter(name) for name in "BTVE")
DIMS = Dims(*(letter(name) for name in Dims._fields))


class Compiled(NamedTuple):
    """What decides a mode of torch.compile.

    Attributes:
        donated: whether the backward writes over what the forward has saved, where nobody else holds it.
        pads: whether V is padded to a multiple of 8 for a product.
    """

    donated: bool
    pads: bool


@dataclass(frozen=True)
class Mode:
    """All of a run but its sizes that decides what its tensors are and how long they live."""

    model: Architecture  # its structure, that is without sizes
    precision: Precision
    kernel: Kernel
    loss: Literal["full", "chunked"]
    loss_dtype: Literal["float32", "logits"]
    returns_logits: bool
    keeps_logits: bool
    recompute: Recompute
    accumulates: bool
    optimizer: Optimizer  # its structure
    shards: int  # of what it remembers
    trains: bool
    evaluates: bool
    cuda: bool
    compiled: Compiled | None = None  # None: torch runs op by op


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


def _machine(mode: Mode) -> tuple[Tape, Eager]:
    """Return the tape of a mode, and the ops that run on it."""
    weights, products = DTYPES[mode.precision]
    if mode.compiled is None:
        tape = Tape(weights, products, cuda=mode.cuda)
        return tape, Eager(tape, mode.kernel)
    graph = GraphTape(weights, products, cuda=mode.cuda)
    padded = frozenset({V} if mode.compiled.pads else ())
    return graph, Fused(graph, mode.kernel, donated=mode.compiled.donated, padded=padded)


class _Program:
    def __init__(self, mode: Mode) -> None:
        self.mode = mode
        self.tape, self.ops = _machine(mode)
        tape = self.tape
        model = mode.model
        tape.autocast &= model.autocasts
        self.weights = {
            name: tape.buffer(shape, model.tables_in(tape.products)) for name, shape in model.buffers(DIMS).items()
        }
        self.weights |= self._made(model.below(DIMS))
        self.blocks = self._blocks()
        self.weights |= self._made(model.above(DIMS))
        self.widens = mode.loss_dtype == "float32"
        self.head = self.weights[model.embedding if model.tied_embeddings else model.head]
        self.state = mode.optimizer.state(tape, mode.shards) if mode.trains else []  # it is made in the first step
        self.held: list[Tensor] = []
        if mode.keeps_logits:
            self.held.append(tape.make(HELD, (B, T, V), FLOAT32 if self.widens else tape.products))
        self.end = 0

    def _made(self, shapes: Shapes, count: Size = ONE) -> dict[str, Leaf]:
        return {name: self.tape.weight(shape, count, self._held_in(name)) for name, shape in shapes.items()}

    def _held_in(self, name: str) -> Dtype:
        return self.mode.model.held_in(name, self.tape.weights, self.tape.products)

    def _blocks(self) -> tuple[Stretch, ...]:
        model, recompute = self.mode.model, self.mode.recompute

        def make(layer: int, count: Size) -> dict[str, Leaf]:
            made = self._made(model.block(DIMS, layer), count)
            for name, leaf in made.items():
                leaf.multiplies = leaf.is_matrix and name not in model.looked_up
            return made

        return stack(make, recompute) if model.alike else one_by_one(make, model.n_layer, recompute)

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
        tape.make("norm of all gradients", (), FLOAT32)
        self.mode.optimizer.step(tape, tape.leaves)
        self.end = len(tape.events)

    def _batch(self, shape: Shape) -> tuple[Tensor, Tensor]:
        return self.tape.make("batch", shape, INT64), self.tape.make("batch", shape, INT64)

    def _loss(self, idx: Tensor, phase: Phase) -> Tensor:
        """Return the loss of a micro-batch, over the number of micro-steps."""
        ops, tape = self.ops, self.tape
        if self.mode.returns_logits and tape.training:
            loss = self._nanogpt_forward(idx, phase)
        elif self.mode.loss == "chunked":
            loss = chunked_loss(tape, ops.output(self._hidden(idx, phase)), self.head)
        else:
            capped = self.mode.model.capped  # in one line: nobody else holds what one hands to the next
            loss = self._full_loss(capped(ops, self._logits(self._hidden(idx, phase))))
        return ops.pointwise(loss, "loss")

    def _full_loss(self, logits: Tensor) -> Tensor:
        if not self.widens:
            return self.ops.cross_entropy(logits)
        wide = self.ops.cast(logits, FLOAT32, "logits in fp32")
        with self.tape.no_autocast():
            return self.ops.cross_entropy(wide)

    def _nanogpt_forward(self, idx: Tensor, phase: Phase) -> Tensor:
        """Run the forward of nanoGPT's model.py: what has a name lives to its end, the logits perhaps longer."""
        names: Names = []
        x = self._hidden(idx, phase, names)
        logits = self._logits(x)
        if self.widens:  # head(x).float(): what is returned is wide, and the narrow ones have no name
            logits = self.ops.cast(logits, FLOAT32, "logits in fp32")
        loss = self.ops.cross_entropy(self.ops.returned(logits))
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
