"""What the steps of a run took: their peak memory and their time, beside what was predicted."""

from __future__ import annotations

import statistics
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from fwplan.learning.measurement import Measurement
from fwplan.train.device import device_name
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.step import train_step
from fwplan.version import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable

    from torch import Tensor

    from fwplan.train.step import Trainer

WARM_UP_STEPS = 2  # not timed: the first compiles and creates the moments, the second is profiled on CPU


class StepMeter:
    """Runs a run's steps, times them, and finds their peak memory.

    On CPU one real step is run under the profiler: the first after the optimizer has taken one, and so has made what it
    keeps (moments; SGD without momentum keeps nothing, so that its state does not tell). Its peak is exact:
    every live tensor of the step. On CUDA each step after the warm-up has its own peak of allocated memory, so
    evaluations and checkpoints between steps are left out; reserved memory and device use cannot leave them out, since
    the allocator keeps what an evaluation made it take. Device use is that of all processes on the GPU.
    """

    def __init__(self, trainer: Trainer) -> None:
        self.trainer = trainer
        self.steps = 0
        self.taken = 0  # by the optimizer, here or elsewhere: in float16 fewer than were run
        trainer.optimizer.register_step_post_hook(self._count)
        self.seconds: list[float] = []
        self.allocated: int | None = None
        self.reserved: int | None = None
        self.device_used: int | None = None

    def run(self, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> tuple[float, float]:
        """Run one optimizer step on its (B, T) pairs; return its loss in nats and its seconds."""
        profiled = self._is_to_be_profiled()
        begin = time.perf_counter()
        loss = self._profile(micro_batches) if profiled else self._run_on_device(micro_batches)
        seconds = time.perf_counter() - begin
        if self.steps >= WARM_UP_STEPS and not profiled:
            self.seconds.append(seconds)
        self.steps += 1
        return loss, seconds

    def measurement(self, predicted_allocated_bytes: int) -> Measurement | None:
        """Return the record of the steps so far, or None: too few of them, or a device that reports no peak (MPS)."""
        if self.allocated is None or not self.seconds:
            return None
        step_seconds = statistics.median(self.seconds)
        spec, device = self.trainer.spec, self.trainer.device
        return Measurement(
            spec=spec,
            device_type=device.type,
            device_name=device_name(device),
            torch_version=torch.__version__,
            fwplan_version=__version__,
            measured_at=datetime.now(UTC).isoformat(timespec="seconds"),
            predicted_allocated_bytes=predicted_allocated_bytes,
            peak_allocated_bytes=self.allocated,
            peak_reserved_bytes=self.reserved,
            device_used_bytes=self.device_used,
            rss_bytes=peak_rss() if device.type == "cpu" else None,
            step_seconds=step_seconds,
            tokens_per_second=spec.tokens_per_step / step_seconds,
            timed_steps=len(self.seconds),
        )

    def _is_to_be_profiled(self) -> bool:
        return self.trainer.device.type == "cpu" and self.allocated is None and self.taken > 0

    def _count(self, *_: object) -> None:
        self.taken += 1

    def _step(self, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        return float(train_step(self.trainer, micro_batches).item())  # item() waits for the device

    def _profile(self, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        losses: list[float] = []
        live = measure_live_memory(lambda: losses.append(self._step(micro_batches)), persistent(self.trainer))
        self.allocated = live.peak_bytes
        return losses[0]

    def _run_on_device(self, micro_batches: Iterable[tuple[Tensor, Tensor]]) -> float:
        if self.trainer.device.type != "cuda":
            return self._step(micro_batches)
        device = self.trainer.device
        torch.cuda.reset_peak_memory_stats(device)
        loss = self._step(micro_batches)
        if self.steps >= WARM_UP_STEPS:
            free, total = torch.cuda.mem_get_info(device)
            self.allocated = max(self.allocated or 0, torch.cuda.max_memory_allocated(device))
            self.reserved = max(self.reserved or 0, torch.cuda.max_memory_reserved(device))
            self.device_used = max(self.device_used or 0, total - free)
        return loss


def persistent(trainer: Trainer) -> list[Tensor]:
    """Return the tensors that outlive a step: weights, buffers and the optimizer's state."""
    moments = [v for state in trainer.optimizer.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
    return [*trainer.model.parameters(), *trainer.model.buffers(), *moments]


def peak_rss() -> int | None:
    """Return the largest resident set of this process so far, in bytes; None where the system does not say."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - does not exist on Windows

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts KiB
