"""The exact live-tensor peak of a step on CPU, from the profiler's allocation events."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch.profiler import ProfilerActivity, profile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


@dataclass(frozen=True)
class LiveMemory:
    """Bytes of live tensors over a step."""

    baseline_bytes: int  # alive when the step began
    peak_bytes: int  # baseline plus the largest sum of what the step held
    timeline: tuple[int, ...]  # live bytes after each allocation or release


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the distinct storages behind tensors: views and tied weights count once."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(storages.values())


def measure_live_memory(step: Callable[[], object], alive: Iterable[Tensor]) -> LiveMemory:
    """Run step once under the profiler and return its live-tensor bytes.

    Args:
        step: one full, already warmed-up optimizer step on CPU.
        alive: the tensors that exist before the step (weights, moments, batches).

    The profiler reports each allocation and release of torch's CPU allocator. Scratch space that a library such as
    oneDNN takes for itself is not a tensor and is not counted; nor is it by the estimate.
    """
    baseline = storage_bytes(alive)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True, acc_events=True) as profiler:
        step()
    results = profiler.profiler.kineto_results
    events = sorted((event.start_ns(), event.nbytes()) for event in results.events() if event.name() == "[memory]")
    timeline, live = [], baseline
    for _, n_bytes in events:
        live += n_bytes
        timeline.append(live)
    return LiveMemory(baseline, max(timeline, default=baseline), tuple(timeline))
