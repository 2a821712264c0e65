"""A few real steps of a spec on random tokens, to see what they take before the data is there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from fwplan.errors import FwplanError
from fwplan.train.batches import Batches
from fwplan.train.device import check_supported, clear_errors
from fwplan.train.evaluate import evaluate
from fwplan.train.log import Display
from fwplan.train.measure import WARM_UP_STEPS, StepMeter
from fwplan.train.step import build_trainer

if TYPE_CHECKING:
    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec

_STEPS = WARM_UP_STEPS + 3  # three timed steps: the least that has a median
_MICRO_BATCHES = 2  # the first makes the gradients, the second adds to them; all that follow take what it took


def short_step(spec: RunSpec) -> RunSpec:
    """Return the run with steps of so few micro-batches that they show what a whole step takes of memory."""
    count = min(spec.train.grad_accum_steps, _MICRO_BATCHES)
    return spec.but(grad_accum_steps=count)


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
        with Display(start=0, end=_STEPS, quiet=False) as display:
            display.note(f"{_STEPS} steps of {spec.tokens_per_step:,} random tokens")
            for step in range(_STEPS):
                loss, seconds = meter.run(batches.step(step))
                display.step(step + 1, loss, spec.tokens_per_step / seconds)
        measurement = meter.measurement(predicted_allocated_bytes)
    if measurement is None:
        raise FwplanError(f"{device.type} reports no peak memory: nothing to measure", hint="use cpu or cuda")
    return measurement


def random_batches(spec: RunSpec, device: torch.device) -> Batches:
    """Return batches of random tokens of the spec's vocabulary, the same ones each time."""
    size = 8 * (spec.sequence_length + 1)
    tokens = np.random.default_rng(spec.train.seed).integers(0, spec.model.vocab_size, size=size)
    return Batches(spec, lambda _split: tokens, device)
