"""What a run's steps took: which are counted, and that the CPU figure is the step's real live-tensor peak."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from fwplan.errors import FwplanError
from fwplan.learning.result import predict
from fwplan.spec import DeviceSpec
from fwplan.train import measure
from fwplan.train.batches import Batches
from fwplan.train.dry_run import dry_run, short_step
from fwplan.train.measure import StepMeter
from fwplan.train.measure_one import measure_one
from fwplan.train.step import build_trainer
from fwplan.units import MIB

CPU = torch.device("cpu")


def _meter(spec, shards, n_steps):
    torch.manual_seed(0)
    trainer = build_trainer(spec, CPU)
    batches = Batches(spec, shards.sequence, CPU)
    meter = StepMeter(trainer)
    for step in range(n_steps):
        meter.run(batches.step(step))
    return meter


def test_the_peak_holds_weights_moments_gradients_and_logits(make_spec, shards):
    spec = make_spec({"vocab_size": 5000}, grad_accum_steps=1)
    meter = _meter(spec, shards, 3)
    weights = sum(p.numel() for p in meter.trainer.model.parameters()) * 4
    logits = 36 * 5000 * 4
    # eager cross-entropy keeps three fp32 tensors of the logits' size alive; gradients come after
    assert 3 * weights + 3 * logits <= meter.allocated <= 4 * weights + 4 * logits


def test_the_peak_does_not_depend_on_which_warm_step_is_profiled(make_spec, shards, monkeypatch):
    first = _meter(make_spec(), shards, 3).allocated
    monkeypatch.setattr(StepMeter, "_is_to_be_profiled", lambda self: self.steps == 5)
    assert _meter(make_spec(), shards, 6).allocated == first


@pytest.mark.parametrize("B", [1, 3])
def test_a_batch_counts(B, make_spec, shards):
    # 8 bytes for each of 2 x 12 B ids: the batches of this trainer come from torch's allocator, not from numpy's
    spec = make_spec(grad_accum_steps=1, micro_batch_size=B)
    meter = _meter(spec, shards, 1)
    seen = []
    pairs = list(Batches(spec, shards.sequence, CPU).step(1))
    for batches in (iter(pairs), Batches(spec, shards.sequence, CPU).step(1)):
        meter.allocated = None
        meter.run(batches)
        seen.append(meter.allocated)
    assert seen[1] - seen[0] == 2 * 12 * B * 8


def test_warm_up_and_the_profiled_step_are_not_timed(make_spec, shards, monkeypatch):
    clock = iter(range(1000))
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock) ** 2)
    meter = _meter(make_spec(), shards, 5)
    assert meter.seconds == [5**2 - 4**2, 7**2 - 6**2, 9**2 - 8**2]
    record = meter.measurement(77)
    assert record.step_seconds == 13
    assert record.tokens_per_second == 72 / 13
    assert record.timed_steps == 3
    assert record.predicted_allocated_bytes == 77


def test_the_record_says_what_was_measured(make_spec, shards):
    record = _meter(make_spec(), shards, 3).measurement(1)
    assert record.spec == make_spec()
    assert (record.device_type, record.torch_version) == ("cpu", torch.__version__)
    assert record.device_name
    assert record.measured_at.endswith("+00:00")
    assert record.rss_bytes > 50 * MIB  # torch alone is more
    assert record.rss_bytes < 2**40  # bytes, not KiB taken twice
    assert record.peak_reserved_bytes is record.device_used_bytes is None


@pytest.mark.parametrize("n_steps", [0, 1, 2])
def test_too_few_steps_are_no_measurement(n_steps, make_spec, shards):
    assert _meter(make_spec(), shards, n_steps).measurement(1) is None


def test_float16_is_profiled_once_the_moments_exist(make_spec, shards):
    # the scaler skips a first step that overflows, and with it the creation of the moments
    spec = make_spec(dtype="float16", optimizer_impl="foreach")
    trainer = build_trainer(spec, CPU)
    trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**40})
    batches = Batches(spec, shards.sequence, CPU)
    meter = StepMeter(trainer)
    meter.run(batches.step(0))
    meter.run(batches.step(1))
    assert meter.allocated is None
    trainer.scaler.update(1.0)
    for step in range(3):
        meter.run(batches.step(step))
    weights = sum(p.numel() for p in trainer.model.parameters()) * 4
    assert meter.allocated > 3 * weights
    assert len(meter.seconds) == 2  # the third to fifth step, less the profiled one


def test_cuda_counts_each_steps_own_peak_after_the_warm_up(make_spec, monkeypatch):
    # a stand-in for torch.cuda: the peak since the last reset, with a large evaluation between steps
    gpu = SimpleNamespace(allocated=0, reserved=0, resets=0)
    peaks = iter([900, 800, 300, 350, 310])

    def step(_trainer, _batches):
        gpu.allocated = max(gpu.allocated, next(peaks))
        gpu.reserved = max(gpu.reserved, gpu.allocated + 50)
        return torch.tensor(1.0)

    def reset(_device):
        gpu.allocated, gpu.resets = 0, gpu.resets + 1

    monkeypatch.setattr(measure, "train_step", step)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: gpu.allocated)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: gpu.reserved)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10_000 - gpu.reserved - 7, 10_000))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "stand-in")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)])
    meter = StepMeter(SimpleNamespace(spec=make_spec(), device=torch.device("cuda"), optimizer=optimizer))
    for _ in range(5):
        meter.run([])
        gpu.allocated = 5000  # an evaluation
    record = meter.measurement(1)
    assert record.peak_allocated_bytes == 350
    assert record.peak_reserved_bytes == 950  # the allocator keeps what the first step made it take
    assert record.device_used_bytes == record.peak_reserved_bytes + 7
    assert (record.device_name, record.rss_bytes, record.timed_steps) == ("stand-in", None, 3)
    assert gpu.resets == 5


def test_dry_run_measures_without_data_and_writes_nothing(make_spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec = make_spec({"vocab_size": 70_000}, max_steps=None)  # no horizon, and more tokens than 16 bits name
    record = dry_run(spec, CPU, 123)
    assert record.timed_steps == 3
    assert record.predicted_allocated_bytes == 123
    assert list(tmp_path.iterdir()) == []


def test_dry_run_takes_what_a_run_takes(make_spec, shards):
    assert dry_run(make_spec(), CPU, 1).peak_allocated_bytes == _meter(make_spec(), shards, 3).allocated


def test_an_optimizer_that_keeps_nothing_is_measured(make_spec):
    spec = make_spec({"vocab_size": 5000}, optimizer="sgd", optimizer_impl="foreach", momentum=0.0)
    spec = spec.model_copy(update={"device": DeviceSpec(type="cpu")})
    record = dry_run(spec, CPU, 1)
    assert record.peak_allocated_bytes == pytest.approx(predict(spec).allocated_bytes, rel=0.01)
    report = measure_one(spec)
    assert report.measurement.peak_allocated_bytes == record.peak_allocated_bytes


def test_dry_run_takes_few_of_many_micro_batches_and_says_how_far_it_is(make_spec, capsys):
    spec = make_spec({"vocab_size": 5000}, grad_accum_steps=32)
    short = short_step(spec)
    assert (short.train.grad_accum_steps, short.model) == (2, spec.model)
    assert predict(short).allocated_bytes == predict(spec).allocated_bytes
    dry_run(short, CPU, 1)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "5 steps of 72 random tokens"
    assert [line.split()[1] for line in said[1:]] == [f"{n}/5" for n in range(1, 6)]
    assert short_step(make_spec(grad_accum_steps=1)) == make_spec(grad_accum_steps=1)


def test_dry_run_refuses_what_it_cannot_measure(make_spec, monkeypatch):
    monkeypatch.setattr(StepMeter, "measurement", lambda *_: None)
    with pytest.raises(FwplanError, match="nothing to measure"):
        dry_run(make_spec(), CPU, 1)
