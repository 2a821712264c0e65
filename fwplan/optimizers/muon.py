"""Muon for the blocks' matrices beside AdamW for embeddings, head and vectors, as torch.optim has both.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) steps along the momentum made orthogonal by a few
Newton-Schulz iterations in bf16. On an (m, n) matrix with s = min(m, n) an iteration is three products: X X^T, its
square, and that times X, together 4 s^2 max(m, n) + 2 s^3 FLOPs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from fwplan.errors import FwplanError
from fwplan.fields import Rate, Share  # noqa: TC001  # pydantic reads them
from fwplan.optimizers.adamw import AdamW
from fwplan.optimizers.effort import Effort, Weights
from fwplan.optimizers.optimizer import Implementation, Optimizer, share_of, trained
from fwplan.tape.dtypes import BFLOAT16
from fwplan.tape.size import expression

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from fwplan.tape.size import Size
    from fwplan.tape.tape import Leaf, Storage, Tape

# Of a matrix's elements in the weights' width, counted in torch.optim.Muon: momentum (read 2, write 1), its mix with
# the gradient (2, 1), the bf16 copy (1, 1/2), its norm (1/2) and scaling (1/2, 1/2), decay (1, 1), update (1 1/2, 1).
# The iterations' products count by themselves.
_PASSES = 13.5
_KERNELS, _KERNELS_AN_ITERATION = 8, 3  # a matrix, which has its own: there is no other implementation
_ORIGINAL_RATE = 0.02  # Keller Jordan's, for updates of his size
_REPEATED = 2  # iterations: later ones find and make what the second does


class Muon(Optimizer):
    """torch.optim.Muon and torch.optim.AdamW; `implementation` and betas are AdamW's, decay is both's."""

    name: Literal["muon"] = "muon"
    implementation: Implementation = "fused"
    beta1: Share = 0.9
    beta2: Share = 0.95
    momentum: Share = 0.95
    ns_steps: Annotated[int, Field(ge=1, le=99)] = 5
    adjust: Literal["original", "match_rms_adamw"] = "match_rms_adamw"  # updates as large as AdamW's (2502.16982)
    matrix_learning_rate: Rate | None = None  # None: learning_rate; with "original" 0.02

    label: ClassVar[str] = "Muon and AdamW"
    remembers: ClassVar[dict[str, str]] = AdamW.remembers | {
        "Muon momentum": "torch.optim.Muon: one buffer of the shape and dtype of a matrix of the blocks"
    }

    @property
    def told(self) -> str:
        """The matrices' rate, decay and memory."""
        return f"matrices {self.matrix_rate:g}, weight decay {self.weight_decay:g}, momentum {self.momentum:g}"

    @property
    def matrix_rate(self) -> float:
        """The peak learning rate of the blocks' matrices."""
        same = self.learning_rate if self.adjust == "match_rms_adamw" else _ORIGINAL_RATE
        return self.matrix_learning_rate or same

    @property
    def _rest(self) -> AdamW:
        return AdamW(
            implementation=self.implementation,
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            beta1=self.beta1,
            beta2=self.beta2,
        )

    def kind(self) -> dict[str, Any]:
        """Return AdamW's implementation, and whether there is a second iteration."""
        return {"implementation": self.implementation, "ns_steps": min(self.ns_steps, _REPEATED)}

    def state_of(self, tape: Tape, leaf: Leaf, shards: int) -> Iterator[Storage]:
        """Yield the momentum of a block's matrix, or AdamW's state."""
        if leaf.multiplies:
            yield tape.new("Muon momentum", share_of(leaf, shards), leaf.tensor.dtype, leaf.count)
        else:
            yield from self._rest.state_of(tape, leaf, shards)

    def step(self, tape: Tape, leaves: Sequence[Leaf]) -> None:
        """Step over the blocks' matrices, then over the rest."""
        self.update(tape, [leaf for leaf in leaves if leaf.multiplies], decays=True)
        self._rest.step(tape, [leaf for leaf in leaves if not leaf.multiplies])

    def update(self, tape: Tape, group: Sequence[Leaf], *, decays: bool) -> None:  # noqa: ARG002
        """Make each matrix's update while the last one's is still named."""
        update: Storage | None = None
        for leaf in group:
            mixed = tape.new("Muon momentum and gradient", leaf.tensor.shape, leaf.tensor.dtype)
            del update
            update = _orthogonal(tape, leaf, mixed, self.ns_steps)
            del mixed
        del update

    def effort(self, weights: Weights) -> Effort:
        """Return what Muon does for the matrices, and AdamW for the rest."""
        elements = sum(outs * ins * count for outs, ins, count in weights.matrices)
        many = sum(count for _, _, count in weights.matrices)
        rest = self._rest.effort(Weights(weights.elements - elements, weights.tensors - many, ()))
        return Effort(
            moved=rest.moved + _PASSES * elements,
            kernels=rest.kernels + (_KERNELS + _KERNELS_AN_ITERATION * self.ns_steps) * many,
            products=[product for matrix in weights.matrices for product in self._products(*matrix)],
        )

    def _products(self, outs: Any, ins: Any, count: Any) -> Iterator[tuple[Any, Any, Any, Any]]:
        small, large = (outs + ins - abs(outs - ins)) // 2, (outs + ins + abs(outs - ins)) // 2
        for product in ((small, small, large), (small, small, small), (small, large, small)):
            yield *product, count * self.ns_steps

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return both as one.

        Raises:
            FwplanError: this torch has no Muon.
        """
        import torch  # noqa: PLC0415  # planning needs none

        from fwplan.optimizers.joined import Joined  # noqa: PLC0415

        if not hasattr(torch.optim, "Muon"):
            raise FwplanError(
                f"optimizer 'muon' needs torch 2.9 or newer, this is {torch.__version__}",
                where="train.optimizer",
                hint='pip install -U torch, or set optimizer "adamw"',
            )
        matrices = _hidden_matrices(model)
        others = {id(p) for p in matrices}
        rest = self._rest.over([p for p in trained(model) if id(p) not in others])
        if not matrices:
            return rest
        group = {"params": matrices, "rate_ratio": self.matrix_rate / self.learning_rate}
        muon = torch.optim.Muon(
            [group],
            lr=self.matrix_rate,
            weight_decay=self.weight_decay,
            momentum=self.momentum,
            ns_steps=self.ns_steps,
            adjust_lr_fn=self.adjust,
        )
        return Joined(muon, rest)


def _orthogonal(tape: Tape, leaf: Leaf, mixed: Storage, iterations: int) -> Storage:
    """Return the update: the mix in bf16, which is itself where the weights are, made orthogonal."""
    shape = leaf.tensor.shape
    small = _smaller(*shape)
    x = mixed if leaf.tensor.dtype == BFLOAT16 else tape.new("Muon update", shape, BFLOAT16)
    gram = squared = None
    for _ in range(iterations):
        gram = tape.new("Muon Gram matrices", (small, small), BFLOAT16)
        squared = tape.new("Muon Gram matrices", (small, small), BFLOAT16)
        x = tape.new("Muon update", shape, BFLOAT16)
    del gram, squared
    return x


def _smaller(m: Size, n: Size) -> Size:
    """Return the smaller of two sizes; of multiples of one product of letters without comparing them."""
    if len(m.terms) == len(n.terms) == 1 and m.terms[0][0] == n.terms[0][0]:
        return min(m, n, key=lambda size: size.terms[0][1])
    a, b = f"({m!r})", f"({n!r})"
    return expression(f"({a} < {b}) * {a} + ({a} >= {b}) * {b}")


def _hidden_matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    """Return the matrices of a model's blocks, which are what it has lists of; not those that are looked up."""
    from torch import nn  # noqa: PLC0415  # planning needs none

    inside = [part for blocks in model.modules() if isinstance(blocks, nn.ModuleList) for part in blocks.modules()]
    own = (p for part in inside if not isinstance(part, nn.Embedding) for p in part.parameters(recurse=False))
    chosen = {id(p) for p in own if p.dim() == 2}
    return [p for p in trained(model) if id(p) in chosen]
