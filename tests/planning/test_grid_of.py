"""What the arrays say of each run is what the scalar estimate says of it, with past measurements and without."""

from __future__ import annotations

import itertools

import pytest

from fwplan.estimation.estimate import estimate
from fwplan.estimators.speed import middle
from fwplan.learning.measurement import Measurement
from fwplan.machine.target import Target, named_gpu
from fwplan.planning import space
from fwplan.planning.grid import grid_of
from fwplan.planning.request import Request
from fwplan.spec import DeviceSpec
from fwplan.units import GIB, MIB

CARD = named_gpu("RTX 4070")
CPU = Target(DeviceSpec(type="cpu", name="Example CPU", total_bytes=64 * GIB), matmul_flops=4e11)


@pytest.fixture(params=[CARD, CPU], ids=["card", "cpu"])
def target(request):
    return request.param


def _measured(target, spec, *, allocated, slower):
    """Return what a run might have measured that took `allocated` times the formula and `slower` times the time."""
    alone = estimate(spec, target, measurements=[])
    peak = round(alone.memory.allocated_bytes * allocated)
    seconds = middle(alone.step_seconds) * slower
    levels = {"peak_reserved_bytes": round(1.03 * peak), "device_used_bytes": round(1.1 * peak)}
    if target is CPU:
        levels = {"rss_bytes": round(1.2 * peak) + 300 * MIB}
    return Measurement(
        spec=spec, device_type=target.device.type, device_name=target.label, torch_version="2.13.0", fwplan_version="0",
        measured_at="2026-01-01T00:00:00+00:00", predicted_allocated_bytes=alone.memory.allocated_bytes,
        peak_allocated_bytes=peak, **levels,
        step_seconds=seconds, tokens_per_second=spec.tokens_per_step / seconds, timed_steps=5,
    )  # fmt: skip


@pytest.fixture
def searched(monkeypatch, target, architecture):
    monkeypatch.setattr(space, "WIDTHS", (256, 768, 1280))
    monkeypatch.setattr(space, "DEPTHS", (4, 12, 20))
    monkeypatch.setattr(space, "MICRO_BATCHES", (1, 4, 16))
    return space.space_of(Request(target, 10_000_000_000, 168.0, architecture=architecture))


@pytest.fixture(params=["gpt2", "llama", "nanochat", "pythia"])
def architecture(request):
    return request.param


@pytest.fixture(params=["nothing", "one run", "runs of several sizes and modes"])
def past(request, searched, target):
    small, large = searched.spec(0, 0, 1), searched.spec(0, searched.shapes - 1, 1)
    other = searched.spec(len(searched.modes) - 1, 1, 2)
    runs = [
        _measured(target, large, allocated=1.03, slower=1.4),
        _measured(target, small, allocated=0.98, slower=0.7),
        _measured(target, small, allocated=1.01, slower=0.9),
        _measured(target, other, allocated=1.10, slower=2.0),
    ]
    return {"nothing": [], "one run": runs[:1]}.get(request.param, runs)


def test_every_place_is_the_scalar_estimate(searched, past, target):
    grid = grid_of(searched, target, past)
    corrected = 0
    for place in itertools.product(range(len(searched.modes)), range(searched.shapes), range(searched.B.size)):
        spec = searched.spec(*place)
        alone = estimate(spec, target, measurements=past)
        assert grid.needed[place] == pytest.approx(alone.use.needed.high, rel=1e-6)
        seconds = spec.train.grad_accum_steps * grid.micro_seconds[place] + grid.optimizer_seconds[place]
        assert seconds == pytest.approx(middle(alone.step_seconds), rel=1e-6)
        corrected += alone.calibration is not None and alone.calibration.allocated_ratio is not None
    assert bool(corrected) == bool(past)
