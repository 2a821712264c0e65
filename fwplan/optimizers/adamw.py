"""AdamW, as torch.optim has it. Kingma & Ba 2014, Loshchilov & Hutter 2017."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.effort import Effort
from fwplan.optimizers.optimizer import Implementation, Optimizer, chosen, share_of, trained
from fwplan.tape.dtypes import FLOAT32

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from fwplan.optimizers.effort import Weights
    from fwplan.tape.tape import Leaf, Storage, Tape

# Passes over all weights, counted in torch.optim: fused reads weight, gradient and both moments and writes all but the
# gradient (7); foreach decays (2), updates the moments (3 + 2 + 3), takes root, quotient and epsilon (2 + 2 + 2) and
# adds (4). 7 to 20 is 61 to 177 ms, as duoan/cs336 measured. Tensor by tensor much of it stays in the card's cache: on
# gollem's RTX 3090 (tiny rows) for_loop takes 3.5 to 4.8 ms more than fused, 6 passes, not 13. Rejected: 40, 100 and
# 100 bytes a parameter for all optimizers.
_PASSES = {"fused": 7, "foreach": 20, "for_loop": 13}
_KERNELS = 8  # a tensor, tensor by tensor


class AdamW(Optimizer):
    """torch.optim.AdamW."""

    name: Literal["adamw"] = "adamw"
    implementation: Implementation = "fused"
    beta1: Share = 0.9
    beta2: Share = 0.95

    label: ClassVar[str] = "AdamW"
    remembers: ClassVar[dict[str, str]] = {
        "AdamW moments": (
            "Kingma & Ba 2014, Loshchilov & Hutter 2017: two moments, each of the weight's shape and dtype"
        ),
    }

    @property
    def told(self) -> str:
        """Decay and the second moment's memory."""
        return f"weight decay {self.weight_decay:g}, beta2 {self.beta2:g}"

    def kind(self) -> dict[str, Any]:
        """Return the implementation."""
        return {"implementation": self.implementation}

    def state_of(self, tape: Tape, leaf: Leaf, shards: int) -> Iterator[Storage]:
        """Yield both moments, and the count of steps."""
        for _ in range(2):
            yield tape.new("AdamW moments", share_of(leaf, shards), leaf.tensor.dtype, leaf.count)
        yield tape.new("step counts", (), FLOAT32, leaf.count)

    def update(self, tape: Tape, group: Sequence[Leaf], *, decays: bool) -> None:  # noqa: ARG002
        """Make roots and quotients: of all weights (foreach), one weight after the other, or none (fused)."""
        if self.implementation == "foreach":
            name = "AdamW foreach denominators"
            _ = [tape.new(name, leaf.tensor.shape, leaf.tensor.dtype, leaf.count) for leaf in group]
        elif self.implementation == "for_loop":
            _denominators(tape, group)

    def effort(self, weights: Weights) -> Effort:
        """Return passes over everything, and the kernels of each tensor where each has its own."""
        alone = weights.tensors * _KERNELS if self.implementation == "for_loop" else 0.0
        return Effort(_PASSES[self.implementation] * weights.elements, kernels=alone)

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return torch.optim.AdamW."""
        return self.over(trained(model))

    def over(self, parameters: Sequence[torch.nn.Parameter]) -> torch.optim.Optimizer:
        """Return torch.optim.AdamW of these parameters."""
        from torch.optim import AdamW as Built  # noqa: PLC0415  # planning needs no torch

        betas = (self.beta1, self.beta2)
        return Built(self.groups(parameters), lr=self.learning_rate, betas=betas, **chosen(self.implementation))


def _denominators(tape: Tape, group: Sequence[Leaf]) -> None:
    """Make each weight's root and quotient while the last weight's quotient is still named."""
    denominator: Storage | None = None
    for leaf in group:
        root = tape.new("AdamW denominators", leaf.tensor.shape, leaf.tensor.dtype)
        quotient = tape.new("AdamW denominators", leaf.tensor.shape, leaf.tensor.dtype)
        del root
        denominator = quotient
        del quotient
    del denominator
