"""The learning rate's shape, and the defaults that TrainSpec documents."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fwplan.errors import FwplanError
from fwplan.spec import RunSpec
from fwplan.spec.defaults import warmup_steps
from fwplan.train.schedule import Schedule, learning_rate, resolve_schedule


def _resolve(**train):
    model = {"n_layer": 1, "n_head": 1, "n_embd": 8, "context_length": 10}
    return resolve_schedule(RunSpec.model_validate({"model": model, "train": {"micro_batch_size": 1, **train}}))


@st.composite
def schedules(draw):
    steps = draw(st.integers(1, 5000))
    peak = draw(st.floats(1e-6, 1.0))
    warmup = draw(st.integers(0, steps + 10))
    return Schedule(steps, warmup, peak, draw(st.floats(0, 1)) * peak, 1, 1)


@settings(deadline=None)
@given(schedules())
def test_rises_to_the_peak_then_never_rises_again(schedule):
    rates = [learning_rate(schedule, step) for step in range(schedule.steps)]
    turn = min(schedule.warmup_steps, schedule.steps - 1)
    assert all(a < b for a, b in pairwise(rates[: turn + 1]))
    assert all(a >= b * (1 - 1e-12) for a, b in pairwise(rates[turn:]))
    assert all(0 < rate <= schedule.learning_rate * (1 + 1e-12) for rate in rates[:-1])


@settings(deadline=None)
@given(schedules())
def test_peak_and_end_are_exact(schedule):
    if schedule.warmup_steps < schedule.steps:
        assert learning_rate(schedule, schedule.warmup_steps) == pytest.approx(schedule.learning_rate)
    if schedule.warmup_steps < schedule.steps - 1:
        assert learning_rate(schedule, schedule.steps - 1) == pytest.approx(schedule.min_lr)
        assert learning_rate(schedule, schedule.steps + 100) == pytest.approx(schedule.min_lr)


def test_halfway_down_is_the_middle():
    assert learning_rate(Schedule(101, 0, 1.0, 0.2, 1, 1), 50) == pytest.approx(0.6)


def test_warm_up_is_linear_and_starts_above_zero():
    rates = [learning_rate(Schedule(100, 4, 1.0, 0.0, 1, 1), step) for step in range(5)]
    assert rates == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


@pytest.mark.parametrize(
    ("steps", "warmup", "interval"),
    [(1, 1, 1), (19, 1, 1), (99, 1, 4), (100, 2, 5), (400, 8, 20), (19_074, 381, 953), (600_000, 2000, 1000)],
)
def test_defaults(steps, warmup, interval):
    schedule = _resolve(max_steps=steps, learning_rate=4e-4)
    assert schedule.steps == steps
    assert schedule.warmup_steps == warmup
    assert schedule.min_lr == pytest.approx(4e-5)
    assert (schedule.eval_interval, schedule.checkpoint_interval) == (interval, interval)


@pytest.mark.parametrize("steps", [1, 2, 30, 49, 50, 51, 99, 5000, 99_999, 100_000, 10**6])
def test_a_default_warm_up_is_the_planned_one(steps):
    assert _resolve(max_steps=steps).warmup_steps == warmup_steps(steps)


def test_what_is_given_is_kept_even_zero():
    schedule = _resolve(max_steps=400, min_lr=0.0, warmup_steps=0, eval_interval=7)
    assert (schedule.min_lr, schedule.warmup_steps, schedule.eval_interval) == (0.0, 0, 7)
    assert schedule.checkpoint_interval == 7
    assert _resolve(max_steps=400, eval_interval=7, checkpoint_interval=3).checkpoint_interval == 3


def test_tokens_round_up_to_steps():
    assert _resolve(max_tokens=1001).steps == 101


def test_no_horizon_is_refused():
    with pytest.raises(FwplanError, match="how long to train"):
        _resolve()
