"""What stands on a device between steps: tensors, what libraries keep beside them, and what others hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from fwplan.learning.result import Footing
from fwplan.machine.nvidia import ask_nvidia_smi
from fwplan.train.live_memory import storage_bytes
from fwplan.train.measure import persistent

if TYPE_CHECKING:
    from fwplan.train.step import Trainer


class Ground:
    """Readings in the order in which they can be taken: before CUDA is woken, before the first step, after the last."""

    def __init__(self, device: torch.device) -> None:
        """Read what is in use on a GPU before this process takes its context, and just after."""
        self.device = device
        self.cuda = device.type == "cuda"
        self.in_use_before = _in_use_by_others() if self.cuda else None
        self.in_use_with_context = _in_use(device) if self.cuda else None
        self.allocated_before = 0

    def before_steps(self, trainer: Trainer) -> None:
        """Read what the model takes."""
        self.allocated_before = self._allocated(trainer)

    def after_steps(self, trainer: Trainer) -> Footing:
        """Return all readings."""
        return Footing(
            allocated_before_bytes=self.allocated_before,
            allocated_after_bytes=self._allocated(trainer),
            tensors_after_bytes=storage_bytes(persistent(trainer)),
            alloc_retries=torch.cuda.memory_stats(self.device).get("num_alloc_retries") if self.cuda else None,
            workspace_bytes=self._workspaces() if self.cuda else None,  # last: it lets them go
            device_in_use_before_bytes=self.in_use_before,
            device_in_use_with_context_bytes=self.in_use_with_context,
        )

    def _allocated(self, trainer: Trainer) -> int:
        return torch.cuda.memory_allocated(self.device) if self.cuda else storage_bytes(persistent(trainer))

    def _workspaces(self) -> int | None:
        """Return the bytes that cuBLAS gives back when told to; None where this torch has no such call."""
        let_go = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)  # noqa: SLF001  # torch's own tests use it
        if let_go is None:
            return None
        held = torch.cuda.memory_allocated(self.device)
        let_go()
        return held - torch.cuda.memory_allocated(self.device)


def _in_use_by_others() -> int | None:
    gpu, _why_not = ask_nvidia_smi()
    return gpu.used_bytes if gpu else None


def _in_use(device: torch.device) -> int:
    free, total = torch.cuda.mem_get_info(device)  # wakes CUDA
    return total - free
