"""A whole run of a nanochat, whose weights are of two element types: trained, stopped and resumed to the bit."""

import pytest

from fwplan.estimation.estimate import estimate
from fwplan.estimators.memory import estimate_memory
from fwplan.planning.fixes import fixes
from fwplan.spec import DeviceSpec
from fwplan.tracing.bundled import trace_spec

NANOCHAT = {"architecture": "nanochat", "n_layer": 3, "n_embd": 32, "context_length": 140}  # windows see 128 tokens


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_resumed_run_is_the_run_that_was_not_stopped(make_spec, run, assert_same_state, dtype):
    spec = make_spec(NANOCHAT, dtype=dtype)
    whole = run(spec, "whole")
    run(spec, "parts", steps=5)
    resumed = run(spec, "parts", resume=True)
    assert resumed.last_loss == whole.last_loss < whole.first_loss
    assert_same_state(whole.run_dir, resumed.run_dir)


def test_what_is_measured_is_what_is_estimated_and_traced(make_spec, run):
    spec = make_spec(NANOCHAT).model_copy(update={"device": DeviceSpec(type="cpu")})
    measured = run(spec).measurement.peak_allocated_bytes
    assert estimate_memory(spec).step_bytes == pytest.approx(measured, rel=5e-3)
    assert trace_spec(spec).peak_allocated_bytes == pytest.approx(measured, rel=5e-3)


def test_no_advice_that_nanochat_has_no_place_for(make_spec):
    found = estimate(make_spec(NANOCHAT | {"vocab_size": 4096}), "RTX 4090", measurements=[])
    assert not any("chunked" in fix.change for fix in fixes(found, []))
    assert any(fix.change == "activation checkpointing" for fix in fixes(found, []))
