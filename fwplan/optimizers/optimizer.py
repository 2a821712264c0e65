"""What every optimizer says of itself: what it is told, what it remembers and makes, what it moves, what torch has.

The tape and the roofline ask these methods and know no optimizer by name; torch is imported where one is built.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self, TypeAlias, TypeVar

from fwplan.fields import Amount, Rate, Spec
from fwplan.tape.size import expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from fwplan.optimizers.effort import Effort, Weights
    from fwplan.tape.tape import Leaf, Shape, Storage, Tape

Implementation: TypeAlias = Literal["fused", "foreach", "for_loop"]


class Optimizer(Spec):
    """An optimizer's settings. Vectors (biases, norms) do not decay."""

    name: str
    learning_rate: Rate = 6e-4  # the peak, which the schedule starts from
    weight_decay: Amount = 0.1  # of matrices

    label: ClassVar[str]  # in words
    refuses: ClassVar[dict[str, str]] = {}  # why what is fixed for it cannot be set
    remembers: ClassVar[dict[str, str]]  # names of what it remembers, with the source of their sizes
    traced: ClassVar[bool] = True  # its kernels are torch's ops
    waits: ClassVar[bool] = False  # for the GPU after each tensor: then no launch is hidden

    @property
    @abstractmethod
    def told(self) -> str:
        """What it is told beside the learning rate, in words."""

    @abstractmethod
    def kind(self) -> dict[str, Any]:
        """Return the fields that decide what is held and made, each value standing for all that do the same."""

    @property
    def structure(self) -> Self:
        """Itself without its rates: one object for all that hold and make the same."""
        found: Self = _structure(type(self), *self.kind().items())
        return found

    # on the tape

    def state(self, tape: Tape, shards: int) -> list[Storage]:
        """Return what it remembers of every weight; a process has its share of it."""
        return [tensor for leaf in tape.leaves for tensor in self.state_of(tape, leaf, shards)]

    @abstractmethod
    def state_of(self, tape: Tape, leaf: Leaf, shards: int) -> Iterator[Storage]:
        """Yield what it remembers of one weight."""

    def step(self, tape: Tape, leaves: Sequence[Leaf]) -> None:
        """Take a step over these weights, group by group as torch has them: those that decay first."""
        for decays in (True, False):
            self.update(tape, [leaf for leaf in leaves if leaf.is_matrix is decays], decays=decays)

    @abstractmethod
    def update(self, tape: Tape, group: Sequence[Leaf], *, decays: bool) -> None:
        """Make what a step makes for a group of weights."""

    # in time

    @abstractmethod
    def effort(self, weights: Weights) -> Effort:
        """Return the work of a step, without clipping."""

    # in torch

    @abstractmethod
    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return torch's optimizer of a model's parameters."""

    def groups(self, parameters: Sequence[torch.nn.Parameter]) -> list[dict[str, Any]]:
        """Return torch's groups of parameters: those that decay, then those that do not; none is empty."""
        matrices, vectors = ([p for p in parameters if (p.dim() >= 2) is decays] for decays in (True, False))
        groups = ({"params": matrices, "weight_decay": self.weight_decay}, {"params": vectors, "weight_decay": 0.0})
        return [group for group in groups if group["params"]]


A = TypeVar("A", bound=Optimizer)


@cache
def _structure(optimizer: type[A], *kind: tuple[str, Any]) -> A:
    return optimizer.model_construct(**dict(kind))


def trained(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the parameters that are trained, in the model's order."""
    return [p for p in model.parameters() if p.requires_grad]


def chosen(implementation: Implementation) -> dict[str, bool]:
    """Return how torch.optim is told which of its implementations to run."""
    return {"fused": implementation == "fused", "foreach": implementation == "foreach"}


def share_of(leaf: Leaf, shards: int) -> Shape:
    """Return the shape of a process's share of what is as large as a weight."""
    if shards == 1:
        return leaf.tensor.shape
    return (expression(f"-(-({leaf.tensor.numel!r}) // {shards})"),)
