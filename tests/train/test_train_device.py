"""Every device, option or failure that this trainer cannot serve ends in one error that says what to set instead."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from fwplan.errors import ExitCode, FwplanError
from fwplan.machine.cpu import detect_cpu
from fwplan.machine.target import this_cpu
from fwplan.train import device
from fwplan.train.device import check_supported, clear_errors, device_name, resolve_device
from fwplan.train.precision import set_matmul_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


@pytest.mark.usefixtures("no_gpu")
def test_cpu_is_always_there():
    assert resolve_device("cpu") == resolve_device(None) == CPU
    assert device_name(CPU)


@pytest.mark.parametrize(("cuda", "mps", "best"), [(True, False, "cuda"), (False, True, "mps"), (True, True, "cuda")])
def test_none_takes_the_best_device(cuda, mps, best, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert resolve_device(None).type == best


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("version", "said"), [(None, "built without CUDA"), ("12.8", "no usable NVIDIA GPU")])
def test_cuda_that_is_not_there(version, said, monkeypatch):
    monkeypatch.setattr(torch.version, "cuda", version)
    monkeypatch.setattr(torch.version, "hip", None)
    with pytest.raises(FwplanError, match=said) as caught:
        resolve_device("cuda")
    assert "--device cpu" in caught.value.hint


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("name", "said"), [("mps", "no Apple GPU"), ("tpu", "unknown device 'tpu'")])
def test_other_devices_that_are_not_there(name, said):
    with pytest.raises(FwplanError, match=said):
        resolve_device(name)


@pytest.mark.parametrize(
    ("train", "field"),
    [
        ({"parallel": "ddp", "world_size": 2}, "train.parallel"),
        ({"parallel": "fsdp"}, "train.parallel"),
        ({"returns_logits": True}, "train.returns_logits"),
        ({"returns_logits": True, "keeps_logits": True}, "train.returns_logits"),
        ({"attention": "efficient"}, "train.attention"),
    ],
)
def test_what_the_trainer_does_not_do(train, field, make_spec):
    with pytest.raises(FwplanError) as caught:
        check_supported(make_spec(**train), CPU)
    assert caught.value.where == field
    assert caught.value.hint


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "pure_bfloat16"])
@pytest.mark.parametrize("impl", ["fused", "foreach", "for_loop"])
def test_what_it_does(dtype, impl, make_spec):
    check_supported(make_spec(dtype=dtype, optimizer_impl=impl, attention="math", loss="chunked"), CPU)


def test_fused_where_there_is_none(make_spec, monkeypatch):
    def adamw(*_, fused, **__):
        if fused:
            raise RuntimeError("`fused=True` requires all the params to be floating point Tensors of [...]")

    monkeypatch.setattr(torch.optim, "AdamW", adamw)
    with pytest.raises(FwplanError, match="'fused' is not available on cpu"):
        check_supported(make_spec(optimizer_impl="fused"), CPU)
    check_supported(make_spec(optimizer_impl="foreach"), CPU)


def test_compiling_without_a_compiler(make_spec, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(FwplanError, match="no 'no-such-compiler' here") as caught:
        check_supported(make_spec(compile=True), CPU)
    assert "compile false" in caught.value.hint
    check_supported(make_spec(compile=False), CPU)
    monkeypatch.setenv("CXX", sys.executable)
    check_supported(make_spec(compile=True), CPU)


@pytest.mark.parametrize("dtype", ["bfloat16", "pure_bfloat16"])
def test_bfloat16_on_a_gpu_without_it(dtype, make_spec, monkeypatch):
    monkeypatch.setattr(device, "_check_optimizer", lambda *_: None)  # it needs a real one
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "GTX 1080")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: including_emulation)
    with pytest.raises(FwplanError, match="GTX 1080 has no bfloat16"):
        check_supported(make_spec(dtype=dtype), CUDA)
    check_supported(make_spec(dtype="float16", attention="efficient"), CUDA)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
def test_out_of_memory_says_what_to_do(error, make_spec):
    with pytest.raises(FwplanError, match="out of memory at micro_batch_size 3") as caught, clear_errors(make_spec()):
        raise error
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    assert "micro_batch_size 1" in caught.value.hint


def test_real_exhaustion_on_cpu(make_spec):
    with pytest.raises(FwplanError, match="out of memory"), clear_errors(make_spec(micro_batch_size=1)):
        torch.empty(2**60, dtype=torch.uint8)


def test_a_failing_compiler_says_to_switch_it_off(make_spec):
    from torch._dynamo.exc import BackendCompilerFailed

    def inductor():
        pass

    with pytest.raises(FwplanError, match=r"torch\.compile failed") as caught, clear_errors(make_spec()):
        raise BackendCompilerFailed(inductor, ValueError("g++ said no"), None)
    assert caught.value.hint == "set compile false"


def test_other_errors_stay_what_they_are(make_spec):
    with pytest.raises(RuntimeError, match="shapes"), clear_errors(make_spec()):
        raise RuntimeError("shapes do not match")


@pytest.mark.parametrize("preset", [None, "0"])
def test_the_profiler_is_silenced_before_torch_is_loaded(preset):
    code = "import sys, os, fwplan.train; print('torch' in sys.modules, os.environ['KINETO_LOG_LEVEL'])"
    env = {key: value for key, value in os.environ.items() if key != "KINETO_LOG_LEVEL"}
    env |= {} if preset is None else {"KINETO_LOG_LEVEL": preset}
    said = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    assert said.split() == ["False", preset or "99"]


def test_a_processor_has_one_name():
    assert device_name(CPU) == detect_cpu(probe=None).name == this_cpu().label


@pytest.mark.parametrize(("tf32", "precision"), [(True, "high"), (False, "highest")])
def test_a_gpus_fp32_products_are_in_tf32_where_the_spec_says_so(tf32, precision):
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        set_matmul_precision("cpu", tf32=tf32)
        assert torch.get_float32_matmul_precision() == "medium"
        set_matmul_precision("cuda", tf32=tf32)
        assert torch.get_float32_matmul_precision() == precision
    finally:
        torch.set_float32_matmul_precision(before)
