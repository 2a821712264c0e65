"""How long measuring one spec should take: what the order, the budget and the ETA go by; nothing is predicted by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fwplan.estimators.parameters import count_parameters
from fwplan.estimators.speed import middle, step_seconds
from fwplan.machine.target import speed_of

if TYPE_CHECKING:
    from fwplan.machine.target import Target
    from fwplan.spec import RunSpec

STEPS = 6  # five steps, and the first one's memory taken fresh from the driver
# Assumed, and corrected by the campaign's own pace. Start: importing torch and waking the GPU. Weights: drawn on the
# processor, one normal at a time. Compiling: inductor with an empty cache, forward and backward, for each block.
START_SECONDS = {"cuda": 6.5, "cpu": 3.0}
WEIGHT_SECONDS = 8e-9
COMPILE_SECONDS, COMPILE_BLOCK_SECONDS = 8.0, 2.0
COMPILE_EVALUATION = 1.4  # over the step alone: the forward again, without gradients


def expected_seconds(spec: RunSpec, target: Target) -> float:
    """Return the seconds of the whole process: start, compile, step."""
    start = START_SECONDS.get(target.device.type, 0.0) + WEIGHT_SECONDS * count_parameters(spec.model).total
    return start + _compile_seconds(spec) + STEPS * _step_seconds(spec, target)


def _compile_seconds(spec: RunSpec) -> float:
    if not spec.train.compile:
        return 0.0
    seconds = COMPILE_SECONDS + COMPILE_BLOCK_SECONDS * spec.model.n_layer
    return seconds * COMPILE_EVALUATION if spec.train.eval_micro_batch_size else seconds


def _step_seconds(spec: RunSpec, target: Target) -> float:
    """Return the middle of a step's expected time; 0 where the device's speed is unknown."""
    speed = speed_of(spec.train, target)
    return 0.0 if speed is None else middle(step_seconds(spec, speed))
