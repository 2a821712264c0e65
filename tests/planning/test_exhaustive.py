"""Every objective's pick is that of an exhaustive search, each run estimated alone by the scalar path."""

from __future__ import annotations

import itertools
import math
from typing import NamedTuple

import pytest

from fwplan.estimation.estimate import estimate
from fwplan.estimators.levels import available_bytes
from fwplan.estimators.quality import FINEWEB_OFFSET, MOST_EPOCHS, repeated_loss
from fwplan.estimators.recipe import eval_batches, eval_interval, tokens_per_step
from fwplan.estimators.speed import middle, model_flops
from fwplan.machine.target import named_gpu, nominal_gpu
from fwplan.planning import space
from fwplan.planning.choose import LARGEST_TOKENS_PER_PARAMETER, LEAST_TOKENS_PER_PARAMETER, LOSS_TOLERANCE
from fwplan.planning.request import FASTEST_SLACK, Request
from fwplan.planning.search import search
from fwplan.spec import DataSpec
from fwplan.units import GIB


@pytest.fixture(autouse=True)
def smaller_space(monkeypatch):
    monkeypatch.setattr(space, "WIDTHS", (256, 512, 768, 1024, 1280))
    monkeypatch.setattr(space, "DEPTHS", (4, 8, 12, 16, 20))
    monkeypatch.setattr(space, "MICRO_BATCHES", (1, 2, 4, 8, 16))
    monkeypatch.setattr(space, "CHECKPOINTS", (0, 2, 1))


class Found(NamedTuple):
    """A run that fits, with the law's loss, the middle of its seconds, its tokens and parameters."""

    loss: float
    seconds: float
    tokens: int
    parameters: int

    @property
    def ratio(self):
        return self.tokens / self.parameters


BASE = Request(nominal_gpu(12 * GIB), 10_000_000_000, 168.0)
REQUESTS = {
    "a 12 GB card": {},
    "an RTX 4090 for a day": {"target": named_gpu("RTX 4090"), "hours": 24.0},
    "little text": {"tokens": None, "data": DataSpec(tokens=300_000_000)},
    "three epochs": {"tokens": None, "data": DataSpec(tokens=1_000_000_000), "epochs": 3.0},
    "a margin": {"margin_bytes": 3 * GIB},
    "no expandable segments": {"expandable_segments": False},
    "money": {"target": named_gpu("RTX 4070"), "kwh_price": 0.3, "budget": 5.0},
}


def _request(name, **fields):
    return BASE.__class__(**{**vars(BASE), **REQUESTS[name], **fields})


@pytest.mark.parametrize("name", REQUESTS)
def test_the_lowest_loss_and_then_the_shortest_time(name):
    request = _request(name)
    runs = [run for run in _everything_that_fits(request) if run.ratio >= LEAST_TOKENS_PER_PARAMETER]
    lowest = min(run.loss for run in runs)
    fastest = min(run.seconds for run in runs if run.loss <= lowest + LOSS_TOLERANCE)
    pick = search(request, []).pick
    assert lowest - 1e-4 <= pick.law_loss <= lowest + LOSS_TOLERANCE
    assert pick.total_seconds == pytest.approx(fastest, rel=0.002)


@pytest.mark.parametrize("name", ["a 12 GB card", "an RTX 4090 for a day"])
def test_the_largest(name):
    request = _request(name, objective="largest")
    runs = list(_everything_that_fits(request))
    most = max(run.parameters for run in runs if run.ratio >= LARGEST_TOKENS_PER_PARAMETER)
    assert search(request, []).pick.estimate.parameters.total == most


@pytest.mark.parametrize("name", ["a 12 GB card", "little text"])
def test_the_fastest(name):
    request = _request(name, objective="fastest")
    lowest = search(_request(name), []).pick.law_loss
    goal = _request(name, objective="cheapest", loss=lowest + FASTEST_SLACK + FINEWEB_OFFSET[1])
    runs = [run for run in _everything_that_fits(goal) if run.loss <= lowest + FASTEST_SLACK + 1e-6]
    fastest = min(run.seconds for run in runs if run.ratio >= LEAST_TOKENS_PER_PARAMETER)
    pick = search(request, []).pick
    assert pick.law_loss <= lowest + FASTEST_SLACK + 1e-3
    assert pick.total_seconds == pytest.approx(fastest, rel=0.002)


@pytest.mark.parametrize(
    ("name", "goal"), [("a 12 GB card", 3.2), ("a 12 GB card", 3.4), ("little text", 3.6), ("three epochs", 3.5)]
)
def test_the_cheapest(name, goal):
    request = _request(name, tokens=None, objective="cheapest", loss=goal)
    runs = [run for run in _everything_that_fits(request) if run.loss + FINEWEB_OFFSET[1] <= goal + 1e-6]
    runs = [run for run in runs if run.ratio >= LEAST_TOKENS_PER_PARAMETER]
    pick = search(request, []).pick
    assert pick.law_loss + FINEWEB_OFFSET[1] <= goal + 1e-4
    assert pick.total_seconds == pytest.approx(min(run.seconds for run in runs), rel=0.002)


def _everything_that_fits(request):
    """Yield every run of the space that fits, with the scalar recipe."""
    searched, most = space.space_of(request), _most_seconds(request)
    room = available_bytes(request.target.device) - request.margin_bytes
    places = itertools.product(range(len(searched.modes)), range(searched.shapes), range(searched.B.size))
    for place in places:
        spec = searched.spec(*place)
        alone = estimate(spec, request.target, measurements=[])
        if alone.use.needed.high > room:
            continue
        wanted = _most_tokens(request, alone.parameters.non_position)
        per_token = middle(alone.step_seconds) / spec.tokens_per_step
        first = min(wanted, most / per_token)
        batch = tokens_per_step(first, model_flops(spec).per_token * first)
        if spec.tokens_per_micro_batch > batch:
            continue
        accumulation = max(1, round(batch / spec.tokens_per_micro_batch))
        step = estimate(
            spec.model_copy(update={"train": spec.train.model_copy(update={"grad_accum_steps": accumulation})}),
            request.target,
            measurements=[],
        )
        per_step = step.spec.tokens_per_step
        whole = math.ceil if request.tokens or request.objective == "cheapest" else math.floor
        steps = min(int(most / middle(step.step_seconds)), whole(wanted / per_step))
        while steps > 0 and (seconds := _seconds(step, steps)) > most:
            steps = min(steps - 1, int(steps * most / seconds))
        if steps < 1:
            continue
        unique = request.data.tokens if request.data else None
        loss = repeated_loss(alone.parameters.non_position, min(steps * per_step, wanted), unique)
        yield Found(loss, _seconds(step, steps), steps * per_step, alone.parameters.total)


def _seconds(step, steps):
    """Return the middle of a run's time: its steps and their evaluations, each a third of a micro-step for a batch."""
    train = step.spec.train
    batches = eval_batches(steps, train.grad_accum_steps, step.spec.tokens_per_micro_batch)
    interval = eval_interval(steps, train.grad_accum_steps, batches)
    share = batches / 3 / (train.grad_accum_steps * interval)
    return middle(step.step_seconds) * steps * (1 + share)


def _most_seconds(request):
    if request.budget is None:
        return request.hours * 3600
    watts = request.target.cards[0].tdp_watts
    return min(request.hours, request.budget / (watts / 1000 * request.kwh_price)) * 3600


def _most_tokens(request, parameters):
    unique = request.data.tokens if request.data else None
    borne = unique * (request.epochs or MOST_EPOCHS) if unique else request.tokens or math.inf
    if request.objective != "cheapest":
        return borne
    low, high = 1.0, 1e15
    for _ in range(200):
        between = math.sqrt(low * high)
        reached = repeated_loss(parameters, between, unique) + FINEWEB_OFFSET[1] <= request.loss
        low, high = (low, between) if reached else (between, high)
    return min(borne, high)
