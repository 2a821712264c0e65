"""One spec's worker: real steps on CPU, stand-ins for a GPU, and running out of memory as a result."""

from __future__ import annotations

import json
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch

from fwplan.learning.result import predict
from fwplan.machine.gpu import Gpu
from fwplan.spec import DeviceSpec
from fwplan.train import footing, measure_one
from fwplan.train.about_device import about
from fwplan.train.footing import Ground
from fwplan.units import GIB, MIB

CPU = DeviceSpec(type="cpu")
CUDA_SAID = (
    "CUDA out of memory. Tried to allocate 6.14 GiB. GPU 0 has a total capacity of 11.66 GiB of which 2.52 GiB is "
    "free. Process 4242 has 9.05 GiB memory in use."
)


def _on_cpu(spec):
    return spec.model_copy(update={"device": CPU})


def test_a_report_holds_the_step_the_first_one_and_what_stands_between(make_spec):
    spec = _on_cpu(make_spec({"vocab_size": 5000}, eval_micro_batch_size=30))
    report = measure_one.measure_one(spec)
    predicted = predict(spec)
    assert report.measurement.peak_allocated_bytes == pytest.approx(predicted.allocated_bytes, rel=0.01)
    assert report.measurement.timed_steps == 3
    assert report.evaluation_peak_bytes == pytest.approx(predicted.evaluation_bytes, rel=0.01)
    assert report.first_step.seconds > 0
    assert report.first_step.rss_bytes > 50 * MIB
    weights, after = report.footing.allocated_before_bytes, report.footing.allocated_after_bytes
    assert 3 * weights <= after == report.footing.tensors_after_bytes <= 3 * weights + 1000  # moments, step counts
    assert report.shortage is report.error is None


def test_no_evaluation_where_none_is_larger_than_a_step(make_spec, monkeypatch):
    monkeypatch.setattr(measure_one, "evaluate", None)
    report = measure_one.measure_one(_on_cpu(make_spec(eval_micro_batch_size=3)))
    assert report.evaluation_peak_bytes is None


def test_steps_that_float16_skips_are_not_measured(make_spec, monkeypatch):
    real, scales = measure_one.build_trainer, []

    def overflowing(spec, device):
        trainer = real(spec, device)
        trainer.scaler.load_state_dict({**trainer.scaler.state_dict(), "scale": 2.0**60})
        return trainer

    def step(trainer, batches):
        scales.append(trainer.scaler.get_scale())
        if len(scales) == 3:
            trainer.scaler.update(1.0)
        return real_step(trainer, batches)

    real_step = measure_one.train_step
    monkeypatch.setattr(measure_one, "build_trainer", overflowing)
    monkeypatch.setattr(measure_one, "train_step", step)
    spec = _on_cpu(
        make_spec({"vocab_size": 4000}, dtype="float16", optimizer_impl="foreach")
    )  # dwarfs oneDNN's scratch
    report = measure_one.measure_one(spec)
    assert len(scales) == 3  # besides the first step, and before the measured ones
    assert report.measurement.timed_steps == 3
    assert report.measurement.peak_allocated_bytes == pytest.approx(predict(spec).allocated_bytes, rel=0.02)


def test_a_real_shortage_on_cpu_is_a_report(make_spec):
    spec = _on_cpu(make_spec({"n_embd": 2**17, "vocab_size": 2**24}))
    report = measure_one.measure_one(spec)
    assert report.shortage.tried_bytes == 2**17 * 2**24 * 4
    assert "can't allocate memory" in report.shortage.said
    assert report.measurement is None


@pytest.fixture
def gpu(monkeypatch):
    """Put a stand-in in torch.cuda's place, and return its figures."""
    figures = SimpleNamespace(allocated=0, peak=900, reserved=1000, free=9000, total=10_000, workspaces=64)

    def let_go():
        figures.allocated -= figures.workspaces

    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: figures.allocated)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda _: figures.peak)
    monkeypatch.setattr(torch.cuda, "max_memory_reserved", lambda _: figures.reserved)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (figures.free, figures.total))
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda _: {"num_alloc_retries": 2})
    monkeypatch.setattr(torch._C, "_cuda_clearCublasWorkspaces", let_go, raising=False)
    smi = Gpu("X", 10_000, 300, 400, "580", "GPU-1")
    monkeypatch.setattr(footing, "ask_nvidia_smi", lambda: (smi, None))
    return figures


@pytest.mark.parametrize(
    ("error", "tried"),
    [
        (torch.OutOfMemoryError(CUDA_SAID), round(6.14 * GIB)),
        (RuntimeError("CUDA error: out of memory\nCompile with TORCH_USE_CUDA_DSA"), None),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), None),
        (MemoryError(), None),
    ],
)
def test_a_shortage_on_a_gpu_says_what_was_held_and_tried(error, tried, gpu, make_spec, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(measure_one, "resolve_device", torch.device)
    monkeypatch.setattr(measure_one, "check_supported", lambda *_: None)
    monkeypatch.setattr(measure_one, "build_trainer", fail)
    monkeypatch.setattr(measure_one, "random_batches", lambda *_: nullcontext())
    monkeypatch.setattr(torch, "manual_seed", lambda _: None)
    report = measure_one.measure_one(make_spec().model_copy(update={"device": DeviceSpec(type="cuda")}))
    assert (report.shortage.allocated_bytes, report.shortage.reserved_bytes) == (gpu.peak, gpu.reserved)
    assert report.shortage.tried_bytes == tried
    assert report.shortage.said
    assert "\n" not in report.shortage.said


def test_another_error_is_no_shortage(make_spec, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("device-side assert triggered\nmore of it")

    monkeypatch.setattr(measure_one, "build_trainer", fail)
    monkeypatch.setattr(measure_one, "_cap_memory", lambda: None)
    report = measure_one._report(_on_cpu(make_spec()).model_dump_json())
    assert report.error == "RuntimeError: device-side assert triggered"
    assert report.shortage is None
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("recipe", "said"),
    [({"attention": "efficient"}, "'efficient' exists on CUDA only"),
     ({"returns_logits": True}, "never returns the logits")],
)  # fmt: skip
def test_what_the_trainer_cannot_do_is_a_reason(recipe, said, make_spec, monkeypatch):
    monkeypatch.setattr(measure_one, "_cap_memory", lambda: None)
    assert said in measure_one._report(_on_cpu(make_spec(**recipe)).model_dump_json()).error


@pytest.mark.parametrize("text", ["{", "", '{"model": 1}'])
def test_no_spec_is_a_reason(text):
    assert measure_one._report(text).error


@pytest.mark.parametrize(
    ("said", "tried"),
    [
        (CUDA_SAID, round(6.14 * GIB)),
        ("Tried to allocate 20.00 MiB (GPU 0; 7.79 GiB total capacity)", 20 * MIB),
        ("Tried to allocate 512 bytes", 512),
        ("DefaultCPUAllocator: can't allocate memory: you tried to allocate 257556480000 bytes. Error code 12",
         257_556_480_000),
        ("CUDA error: out of memory", None),
    ],
)  # fmt: skip
def test_the_request_that_failed_is_read(said, tried):
    assert measure_one.tried_bytes(said) == tried


def test_the_footing_of_a_gpu(gpu):
    gpu.free = 9500
    ground = Ground(torch.device("cuda"))
    gpu.free, gpu.allocated = 2000, 1000
    trainer = SimpleNamespace(
        model=torch.nn.Linear(10, 10, bias=False),
        optimizer=SimpleNamespace(state={0: {"exp_avg": torch.zeros(100), "step": 3}}),
    )
    ground.before_steps(trainer)
    gpu.allocated = 3000
    found = ground.after_steps(trainer)
    assert (found.allocated_before_bytes, found.allocated_after_bytes) == (1000, 3000)
    assert found.tensors_after_bytes == 800
    assert found.workspace_bytes == 64
    assert found.alloc_retries == 2
    assert found.device_in_use_before_bytes == 400
    assert found.device_in_use_with_context_bytes == 500


def test_the_first_step_of_a_gpu_has_its_own_peak(gpu):
    first = measure_one._first_step(torch.device("cuda"), 12.0)
    assert (first.peak_allocated_bytes, first.peak_reserved_bytes, first.rss_bytes) == (gpu.peak, gpu.reserved, None)


def test_what_is_said_of_this_cpu():
    machine = about("cpu")
    assert machine.device_type == "cpu"
    assert machine.device_name
    assert machine.versions["torch"] == torch.__version__
    assert machine.versions["threads"] == "1"
    assert json.loads(machine.model_dump_json())["device_total_bytes"] is None
