"""A few real steps of a spec on random tokens, to see what they take before the data is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fwplan.errors import FwplanError
from fwplan.train.batches import Batches
from fwplan.train.device import check_supported, clear_errors
from fwplan.train.evaluate import evaluate
from fwplan.train.measure import WARM_UP_STEPS, StepMeter
from fwplan.train.step import build_trainer

if TYPE_CHECKING:
    from fwplan.measurement import Measurement
    from fwplan.spec import RunSpec

_STEPS = WARM_UP_STEPS + 3  # three timed steps: the least that has a median


def dry_run(spec: RunSpec, device: torch.device, predicted_allocated_bytes: int) -> Measurement:
    """Return what a few real steps of the spec take, on random tokens; nothing is written.

    Raises:
        FwplanError: the spec cannot run on this device, or the device reports no peak memory.
    """
    check_supported(spec, device)
    torch.manual_seed(spec.train.seed)
    with clear_errors(spec), random_batches(spec, device) as batches:
        trainer = build_trainer(spec, device)
        meter = StepMeter(trainer)
        evaluate(trainer, batches.validation(1))  # a run begins with one, and the allocator keeps what it took
        for step in range(_STEPS):
            meter.run(batches.step(step))
        measurement = meter.measurement(predicted_allocated_bytes)
    if measurement is None:
        raise FwplanError(f"{device.type} reports no peak memory: nothing to measure", hint="use cpu or cuda")
    return measurement


def random_batches(spec: RunSpec, device: torch.device) -> Batches:
    """Return batches of random tokens of the spec's vocabulary, the same ones each time."""
    size = 8 * (spec.sequence_length + 1)
    tokens = np.random.default_rng(spec.train.seed).integers(0, spec.model.vocab_size, size=size)
    return Batches(spec, lambda _split: tokens, device)
