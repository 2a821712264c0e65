"""Where an op runs: in which module, in the optimizer, in which node of the backward."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn
    from torch.optim import Optimizer


class Whereabouts:
    """Follows the forward through a model's modules and a step through its optimizer; in the backward, the graph."""

    def __init__(self) -> None:
        self._path: list[str] = []
        self.making: str | None = None  # what is being made, where that says more than the op

    @contextmanager
    def make(self, what: str, where: str) -> Iterator[None]:
        """Call what is allocated inside by this name and place."""
        self.making = what
        self._path.append(where)
        try:
            yield
        finally:
            self.making = None
            self._path.pop()

    def here(self) -> str:
        """Return the innermost module's name, or the autograd node's, or nothing where neither is known."""
        if self._path:
            return self._path[-1]
        node = torch._C._current_autograd_node() if torch._C._current_graph_task_id() != -1 else None  # noqa: SLF001
        return node.name() if node is not None else ""

    def follow(self, model: nn.Module, optimizer: Optimizer | None) -> ExitStack:
        """Watch the model's modules and the optimizer until the returned context ends."""
        hooks = ExitStack()
        if optimizer is not None:
            name = f"{type(optimizer).__name__}.step"
            hooks.callback(optimizer.register_step_pre_hook(self._enter(name)).remove)
            hooks.callback(optimizer.register_step_post_hook(self._leave).remove)
        for name, module in model.named_modules():
            hooks.callback(module.register_forward_pre_hook(self._enter(name)).remove)
            hooks.callback(module.register_forward_hook(self._leave, always_call=True).remove)
        return hooks

    def _enter(self, name: str) -> Any:
        def hook(*_: object) -> None:
            self._path.append(name)

        return hook

    def _leave(self, *_: object) -> None:
        self._path.pop()
