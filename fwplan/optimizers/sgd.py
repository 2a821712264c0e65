"""SGD with or without momentum, as torch.optim has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.effort import Effort
from fwplan.optimizers.optimizer import Implementation, Optimizer, chosen, share_of, trained

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from fwplan.optimizers.effort import Weights
    from fwplan.tape.tape import Leaf, Storage, Tape

# Passes over all weights, counted as AdamW's: gradient, weight and momentum (5; 3 without), op by op decay, momentum,
# weight (11, 6); for_loop less, as AdamW's.
_PASSES = {"fused": (3, 5), "foreach": (6, 11), "for_loop": (4, 8)}
_KERNELS = 4  # a tensor, tensor by tensor


class SGD(Optimizer):
    """torch.optim.SGD."""

    name: Literal["sgd"] = "sgd"
    implementation: Implementation = "fused"
    momentum: Share = 0.9

    label: ClassVar[str] = "SGD"
    remembers: ClassVar[dict[str, str]] = {
        "SGD momentum": "one momentum buffer of the weight's shape and dtype; none where momentum is 0",
    }

    @property
    def told(self) -> str:
        """Decay and momentum."""
        return f"weight decay {self.weight_decay:g}, momentum {self.momentum:g}"

    def kind(self) -> dict[str, Any]:
        """Return the implementation, and whether there are momentum and decay."""
        has, decays = (0.9 if self.momentum else 0.0), (0.1 if self.weight_decay else 0.0)
        return {"implementation": self.implementation, "momentum": has, "weight_decay": decays}

    def state_of(self, tape: Tape, leaf: Leaf, shards: int) -> Iterator[Storage]:
        """Yield the momentum, if there is any."""
        if self.momentum:
            yield tape.new("SGD momentum", share_of(leaf, shards), leaf.tensor.dtype, leaf.count)

    def update(self, tape: Tape, group: Sequence[Leaf], *, decays: bool) -> None:
        """Make gradients with the decay added: of all matrices (foreach), one after the other, or none (fused)."""
        if not self.weight_decay or not decays:
            return
        if self.implementation == "foreach":
            for dtype in dict.fromkeys(leaf.tensor.dtype for leaf in group):  # torch takes one after the other
                alike = (leaf for leaf in group if leaf.tensor.dtype == dtype)
                made = [tape.new("decayed gradients", leaf.tensor.shape, dtype, leaf.count) for leaf in alike]
                made.clear()
        elif self.implementation == "for_loop":
            for leaf in group:
                tape.new("decayed gradients", leaf.tensor.shape, leaf.tensor.dtype)

    def effort(self, weights: Weights) -> Effort:
        """Return passes over everything, and the kernels of each tensor where each has its own."""
        alone = weights.tensors * _KERNELS if self.implementation == "for_loop" else 0.0
        return Effort(_PASSES[self.implementation][self.momentum > 0] * weights.elements, kernels=alone)

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return torch.optim.SGD."""
        from torch.optim import SGD as Built  # noqa: N811, PLC0415  # planning needs no torch

        groups = self.groups(trained(model))
        return Built(groups, lr=self.learning_rate, momentum=self.momentum, **chosen(self.implementation))
