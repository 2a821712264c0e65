"""When a run warms up, evaluates and saves, and its learning rate at each step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.spec import defaults

if TYPE_CHECKING:
    from fwplan.spec import RunSpec


@dataclass(frozen=True)
class Schedule:
    """A run's horizon and intervals in optimizer steps, and its learning rates, with every default resolved."""

    steps: int
    warmup_steps: int
    learning_rate: float
    min_lr: float
    eval_interval: int
    checkpoint_interval: int


def resolve_schedule(spec: RunSpec) -> Schedule:
    """Return the schedule that the spec states, its Nones replaced by what they mean.

    Raises:
        FwplanError: the spec has no horizon.
    """
    if spec.steps is None:
        raise FwplanError(
            "the spec does not say how long to train",
            where="train.max_steps",
            hint="give train.max_steps or train.max_tokens",
        )
    train, steps = spec.train, spec.steps
    peak, planned = train.optimizer.learning_rate, train.schedule
    eval_interval = spec.eval_interval or 1
    return Schedule(
        steps=steps,
        warmup_steps=defaults.warmup_steps(steps) if planned.warmup_steps is None else planned.warmup_steps,
        learning_rate=peak,
        min_lr=defaults.min_lr(peak) if planned.min_lr is None else planned.min_lr,
        eval_interval=eval_interval,
        checkpoint_interval=train.checkpoint_interval or defaults.checkpoint_interval(eval_interval),
    )


def learning_rate(schedule: Schedule, step: int) -> float:
    """Return the learning rate of optimizer step `step`, counted from 0.

    Linear from lr / (w + 1) over the w warm-up steps, lr at step w, then half a cosine down to min_lr at the last step.
    """
    if step < schedule.warmup_steps:
        return schedule.learning_rate * (step + 1) / (schedule.warmup_steps + 1)
    decay_steps = schedule.steps - 1 - schedule.warmup_steps
    progress = min((step - schedule.warmup_steps) / decay_steps, 1.0) if decay_steps > 0 else 0.0
    share = 0.5 * (1.0 + math.cos(math.pi * progress))
    return schedule.min_lr + share * (schedule.learning_rate - schedule.min_lr)
