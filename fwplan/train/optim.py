"""The optimizer over two parameter groups: matrices decay, vectors (biases, norms) do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from fwplan.spec import TrainSpec


def build_optimizer(model: nn.Module, train: TrainSpec) -> Optimizer:
    """Return the spec's optimizer for the model's parameters, in the implementation that it names.

    Raises:
        FwplanError: AdamW in 8 bits is asked for, and bitsandbytes is not installed.
    """
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": train.optimizer.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return _optimizer([group for group in groups if group["params"]], train)


def _optimizer(groups: list[dict[str, Any]], train: TrainSpec) -> Optimizer:
    spec = train.optimizer
    kind = {"fused": spec.implementation == "fused", "foreach": spec.implementation == "foreach"}
    if spec.name == "sgd":
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.momentum, **kind)
    betas = (spec.beta1, spec.beta2)
    if spec.name == "adamw_8bit":
        made: Optimizer = _bitsandbytes().optim.AdamW8bit(groups, lr=spec.learning_rate, betas=betas)
        return made
    return torch.optim.AdamW(groups, lr=spec.learning_rate, betas=betas, **kind)


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
