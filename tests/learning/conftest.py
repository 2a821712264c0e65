"""A machine, a spec and results that never ran."""

from __future__ import annotations

import pytest

from fwplan.learning.measurement import Measurement
from fwplan.learning.result import Footing, Report, Result, Setup, predict
from fwplan.spec import DeviceSpec


@pytest.fixture
def machine():
    return Setup(device_type="cuda", device_name="Stand-in", device_total_bytes=2**34, versions={"torch": "2.11.0"})


@pytest.fixture
def make_report(machine):
    """Return a factory of what a worker reports: a peak that is the formula's times `ratio`."""

    def make(spec, ratio=1.0, evaluation_peak_bytes=None):
        predicted = predict(spec)
        peak = round(predicted.allocated_bytes / ratio)
        measurement = Measurement(
            spec=spec, device_type="cuda", device_name=machine.device_name, torch_version="2.11.0", fwplan_version="0",
            measured_at="2026-01-01T00:00:00+00:00", predicted_allocated_bytes=predicted.allocated_bytes,
            peak_allocated_bytes=peak, peak_reserved_bytes=peak + 50, device_used_bytes=peak + 950, step_seconds=0.5,
            tokens_per_second=1000.0, timed_steps=3,
        )  # fmt: skip
        footing = Footing(
            allocated_before_bytes=1, allocated_after_bytes=5, tensors_after_bytes=3, device_in_use_before_bytes=700
        )
        return Report(measurement=measurement, footing=footing, evaluation_peak_bytes=evaluation_peak_bytes)

    return make


@pytest.fixture
def make_result(machine, make_report):
    """Return a factory of results; a status other than "measured" comes without a measurement."""

    def make(spec, status="measured", ratio=1.0, evaluation_peak_bytes=None):
        spec = spec.model_copy(update={"device": DeviceSpec(type="cuda")})
        report = make_report(spec, ratio, evaluation_peak_bytes) if status == "measured" else Report(error=status)
        return Result(
            **dict(report), status=status, oom=status == "oom", spec=spec, machine=machine, predicted=predict(spec),
            seconds=1.0, limit_seconds=10.0, measured_at="2026-01-01T00:00:00+00:00",
        )  # fmt: skip

    return make
