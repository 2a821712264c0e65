"""Predicted beside measured: real optimizer steps of the bundled trainer on CPU, every live tensor counted."""

from __future__ import annotations

import contextlib
import gc
import time
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fwplan.estimators.memory import estimate_memory
from fwplan.train.batches import Batches
from fwplan.train.device import check_supported
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.step import build_trainer, train_step

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from fwplan.spec import RunSpec
    from fwplan.train.step import Trainer

CPU = torch.device("cpu")
MOST_WARM_UP_STEPS = 30


@dataclass(frozen=True)
class CpuRow:
    """One spec's peak of live tensors, in bytes. error is (predicted - measured) / measured."""

    spec: RunSpec
    predicted_bytes: int
    measured_bytes: int
    phase: str  # in which the estimate sees the peak
    in_interval: bool  # whether the estimate's own interval holds the measured peak
    seconds: float  # model built, warm-up and profiled step

    @property
    def error(self) -> float:
        """Signed relative error of the prediction."""
        return self.predicted_bytes / self.measured_bytes - 1

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the result file keeps it; of the spec, what differs from the defaults."""
        return {
            "predicted_bytes": self.predicted_bytes,
            "measured_bytes": self.measured_bytes,
            "error": round(self.error, 6),
            "phase": self.phase,
            "in_interval": self.in_interval,
            "seconds": self.seconds,
            "spec": self.spec.model_dump(exclude_defaults=True),
        }


def measure(spec: RunSpec) -> CpuRow:
    """Return the predicted and the measured peak of one warmed-up step on random tokens."""
    check_supported(spec, CPU)
    predicted = estimate_memory(spec)
    begin = time.perf_counter()
    measured = _peak_bytes(spec)
    seconds = time.perf_counter() - begin
    if spec.train.compile:
        torch.compiler.reset()
    gc.collect()
    low, high = predicted.allocated_interval
    return CpuRow(
        spec, predicted.allocated_bytes, measured, predicted.phase.label, low <= measured <= high, round(seconds, 2)
    )


def _peak_bytes(spec: RunSpec) -> int:
    torch.manual_seed(spec.train.seed)
    trainer = build_trainer(spec, CPU)
    tokens = np.random.default_rng(spec.train.seed).integers(0, spec.model.vocab_size, 8 * (spec.sequence_length + 1))
    batches = Batches(spec, lambda _split: tokens, CPU)
    steps = _warm_up(trainer, batches)
    gc.collect()  # what the step before left in reference cycles would be freed, and counted, in this one
    with _without_onednn():
        return measure_live_memory(lambda: train_step(trainer, batches.step(steps)), _persistent(trainer)).peak_bytes


@contextlib.contextmanager
def _without_onednn() -> Iterator[None]:
    """Run torch's own matmuls: oneDNN's scratch, up to 8 % of a toy, is this processor's business and no tensor."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on this build it has something to say about Intel GPUs
        with torch.backends.mkldnn.flags(enabled=False):  # type: ignore[no-untyped-call]
            yield


def _warm_up(trainer: Trainer, batches: Batches) -> int:
    """Take steps until one has updated the weights, and return how many it took.

    One, but in float16: there the loss scaler skips steps, moments and all, until its scale no longer overflows.
    """
    for step in range(MOST_WARM_UP_STEPS):
        scale = trainer.scaler.get_scale()
        train_step(trainer, batches.step(step))
        if trainer.optimizer.state and trainer.scaler.get_scale() >= scale:
            return step + 1
    raise RuntimeError(f"no step of {trainer.spec} was finite")


def _persistent(trainer: Trainer) -> list[Tensor]:
    """Return the tensors that outlive a step: weights and the optimizer's state."""
    state = [v for entry in trainer.optimizer.state.values() for v in entry.values() if isinstance(v, torch.Tensor)]
    return [*trainer.model.parameters(), *trainer.model.buffers(), *state]
