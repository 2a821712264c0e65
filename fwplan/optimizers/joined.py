"""Several of torch's optimizers as one, each over its own groups of parameters."""

from __future__ import annotations

from typing import Any

import torch
from torch.optim import Optimizer


class Joined(Optimizer):
    """Steps its parts in turn; their groups and their state are its own, so that it is saved and resumed as one."""

    def __init__(self, *parts: Optimizer) -> None:
        self.parts = parts
        super().__init__([group for part in parts for group in part.param_groups], {})
        self._share()

    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # this trainer's steps return nothing
        """Let every part take its step."""
        if closure is not None:
            with torch.enable_grad():
                closure()
        for part in self.parts:
            part.step()

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"parts": self.parts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._share()

    def _share(self) -> None:
        """Hand each part its groups, in order, and the state of all."""
        rest = list(self.param_groups)
        for part in self.parts:
            count = len(part.param_groups)
            part.param_groups, rest = rest[:count], rest[count:]
            part.state = self.state
