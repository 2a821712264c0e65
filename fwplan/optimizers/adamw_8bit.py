"""AdamW whose moments are a byte each, as bitsandbytes has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fwplan.errors import FwplanError
from fwplan.fields import Share  # noqa: TC001  # pydantic reads it
from fwplan.optimizers.effort import Effort
from fwplan.optimizers.optimizer import Implementation, Optimizer, trained
from fwplan.tape.dtypes import UINT8
from fwplan.tape.size import expression, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch

    from fwplan.optimizers.effort import Weights
    from fwplan.tape.size import Size
    from fwplan.tape.tape import Leaf, Storage, Tape

_CODE_TABLES = 2048  # bytes of bitsandbytes' two, once for all weights
_MOMENTS = "AdamW moments, 8 bits"
_PASSES = 3  # the weight and the gradient, in the weights' width; counted as AdamW's
_STATE_BYTES = 4.0  # two moments, a byte each, read and written; their scales are a 64th of that


class AdamW8bit(Optimizer):
    """bitsandbytes' AdamW8bit: `pip install 'fwplan[8bit]'`."""

    name: Literal["adamw_8bit"] = "adamw_8bit"
    beta1: Share = 0.9
    beta2: Share = 0.95

    implementation: ClassVar[Implementation] = "fused"
    label: ClassVar[str] = "8-bit AdamW"
    refuses: ClassVar[dict[str, str]] = {
        "implementation": "adamw_8bit is fused: optimizer_impl {!r} does not exist for it"
    }
    remembers: ClassVar[dict[str, str]] = {
        _MOMENTS: "bitsandbytes AdamW8bit: two bytes an element and scales; fp32 below 4,096 elements",
    }
    traced: ClassVar[bool] = False
    waits: ClassVar[bool] = True

    @property
    def told(self) -> str:
        """Decay and the second moment's memory."""
        return f"weight decay {self.weight_decay:g}, beta2 {self.beta2:g}"

    def kind(self) -> dict[str, Any]:
        """Return nothing: they are all alike."""
        return {}

    def state(self, tape: Tape, shards: int) -> list[Storage]:
        """Return both moments of every weight, and the tables of what a byte stands for."""
        return [*super().state(tape, shards), tape.new(_MOMENTS, (number(_CODE_TABLES),), UINT8)]

    def state_of(self, tape: Tape, leaf: Leaf, shards: int) -> Iterator[Storage]:  # noqa: ARG002
        """Yield both moments, with their scales."""
        yield tape.new(_MOMENTS, (_quantised(leaf.tensor.numel),), UINT8, leaf.count)

    def update(self, tape: Tape, group: Sequence[Leaf], *, decays: bool) -> None:
        """Make nothing: one kernel updates a weight in place."""

    def effort(self, weights: Weights) -> Effort:
        """Return passes over weights and gradients, the moments' bytes, and a kernel for each tensor."""
        return Effort(_PASSES * weights.elements, _STATE_BYTES * weights.elements, kernels=weights.tensors)

    def build(self, model: torch.nn.Module) -> torch.optim.Optimizer:
        """Return bitsandbytes' AdamW8bit.

        Raises:
            FwplanError: bitsandbytes is not installed.
        """
        betas = (self.beta1, self.beta2)
        made: torch.optim.Optimizer = _bitsandbytes().optim.AdamW8bit(
            self.groups(trained(model)), lr=self.learning_rate, betas=betas
        )
        return made


def _quantised(numel: Size) -> Size:
    """Return bytes of both moments: one each and fp32 scales for blocks of 256; fp32 below 4,096 elements."""
    n = f"({numel!r})"
    return expression(f"({n} >= 4096) * (2 * {n} + 8 * -(-{n} // 256)) + ({n} < 4096) * 8 * {n}")


def _bitsandbytes() -> Any:
    try:
        import bitsandbytes  # noqa: PLC0415  # an optional dependency
    except ImportError as error:
        raise FwplanError(
            "optimizer 'adamw_8bit' needs bitsandbytes, which is not installed",
            where="train.optimizer",
            hint="pip install 'fwplan[8bit]', or set optimizer \"adamw\"",
        ) from error
    return bitsandbytes
