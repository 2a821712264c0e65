"""AdamW over two parameter groups: matrices decay, vectors (biases, norms) do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import nn

    from fwplan.spec import TrainSpec


def build_optimizer(model: nn.Module, train: TrainSpec) -> torch.optim.AdamW:
    """Return AdamW for the model's parameters, in the implementation that the spec names."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": train.weight_decay},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=train.learning_rate,
        betas=(train.beta1, train.beta2),
        fused=train.optimizer_impl == "fused",
        foreach=train.optimizer_impl == "foreach",
    )
