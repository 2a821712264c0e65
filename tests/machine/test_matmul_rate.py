"""A processor's rate is timed once: two estimates agree, in one process and from one to the next."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fwplan.estimation.estimate import estimate
from fwplan.learning.store import store_path
from fwplan.machine import Cpu, matmul_rate, target
from fwplan.machine.matmul_rate import keep_faster, kept_rate
from fwplan.spec import DeviceSpec
from fwplan.units import GIB

CPU = Cpu("Example CPU 9000", 8, 32 * GIB, 24 * GIB, None)


@pytest.fixture
def timings(monkeypatch):
    """Let the product be timed at another rate each time, and return those that were asked for."""
    asked = []

    def probe(_seconds):
        asked.append(1e11 / 2 ** len(asked))
        return asked[-1]

    monkeypatch.setattr(matmul_rate, "sgemm_flops", probe)
    _next_process()
    yield asked
    _next_process()


def _next_process():
    matmul_rate._rate.cache_clear()
    target._this_cpu_once.cache_clear()


def test_it_is_kept_from_one_process_to_the_next(timings):
    assert kept_rate(CPU) == 1e11
    _next_process()
    assert kept_rate(CPU) == 1e11
    assert len(timings) == 1
    assert kept_rate(replace(CPU, cores=4)) == 5e10  # another quota is another machine


def test_two_estimates_of_a_processor_agree(timings, run_spec, monkeypatch):
    free = iter(range(24, 0, -1))
    monkeypatch.setattr(target, "detect_cpu", lambda **_: replace(CPU, available_bytes=next(free) * GIB))
    spec = run_spec(dtype="float32", compile=False, max_steps=10, device=DeviceSpec(type="cpu"))
    first = estimate(spec)
    assert first.step_seconds is not None
    assert estimate(spec) == first
    _next_process()
    assert estimate(spec).step_seconds == first.step_seconds
    assert len(timings) == 1


@pytest.mark.parametrize(
    "left", [b"\xff{", b"[]", b'{"Example CPU 9000, 8 cores": "fast"}', b'{"Example CPU 9000, 8 cores": -1.0}']
)
def test_what_is_damaged_is_timed_again(left, timings):
    store_path().with_name("processors.json").write_bytes(left)
    assert kept_rate(CPU) == 1e11
    _next_process()
    assert kept_rate(CPU) == 1e11
    assert len(timings) == 1


def test_a_store_that_cannot_be_written_costs_a_timing_a_process(timings, monkeypatch):
    monkeypatch.setenv("FWPLAN_HOME", "/dev/null/x")
    assert kept_rate(CPU) == kept_rate(CPU) == 1e11
    _next_process()
    assert kept_rate(CPU) == 5e10
    assert len(timings) == 2


def test_doctor_keeps_the_fastest(timings):
    assert kept_rate(CPU) == 1e11
    assert keep_faster(replace(CPU, sgemm_flops=2e11)).sgemm_flops == 2e11
    assert kept_rate(CPU) == 2e11
    keep_faster(replace(CPU, sgemm_flops=1e11))
    _next_process()
    assert kept_rate(CPU) == 2e11
    assert len(timings) == 1
