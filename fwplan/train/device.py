"""Which device trains, and whether this trainer can run a spec on it; every refusal comes before any work."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from typing import TYPE_CHECKING

import torch

from fwplan.errors import ExitCode, FwplanError
from fwplan.machine.cpu import cpu_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.spec import RunSpec, TrainSpec


def resolve_device(name: str | None) -> torch.device:
    """Return the torch device for "cpu", "cuda" or "mps"; None takes the best one that this machine has.

    Raises:
        FwplanError: the device is not one of these, or this machine or this build of torch has none.
    """
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise FwplanError(f"unknown device {name!r}", hint="use cpu, cuda or mps")
    if name == "cuda" and not torch.cuda.is_available():
        _refuse_cuda()
    if name == "mps" and not torch.backends.mps.is_available():
        raise FwplanError("device mps was asked for, but torch finds no Apple GPU here", hint="use --device cpu")
    return torch.device(name)


def _refuse_cuda() -> None:
    if torch.version.cuda is None and torch.version.hip is None:
        raise FwplanError(
            f"device cuda was asked for, but this torch ({torch.__version__}) is built without CUDA",
            hint="install a CUDA build of torch (pytorch.org/get-started), or use --device cpu",
        )
    raise FwplanError(
        "device cuda was asked for, but torch finds no usable NVIDIA GPU",
        hint="check that nvidia-smi lists one and that its driver is recent enough, or use --device cpu",
    )


def device_name(device: torch.device) -> str:
    """Return what the device calls itself: the GPU's or the processor's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return cpu_name() or device.type


def check_supported(spec: RunSpec, device: torch.device) -> None:
    """Refuse what the spec asks for and this trainer or this device cannot do.

    Raises:
        FwplanError: names the field and what to set instead.
    """
    train = spec.train
    if not train.parallel.trained:
        raise FwplanError(
            f"parallel {train.parallel.name!r} over {train.parallel.world_size} processes is not supported by this "
            "trainer yet: it plans for it but trains on one device",
            where="train.parallel",
            hint='set parallel "none" and world_size 1',
        )
    if train.loss.returns_logits or train.loss.keeps_logits:
        raise FwplanError(
            "returns_logits and keeps_logits describe nanoGPT's train.py; this trainer never returns the logits",
            where="train.returns_logits",
            hint="plan it without: fwplan explain CONFIG -o plan.json -- --keeps_logits=False --returns_logits=False",
        )
    _check_dtype(train, device)
    _check_attention(train, device)
    _check_optimizer(train, device)
    if train.compile:
        _check_compiler(device)


def _check_dtype(train: TrainSpec, device: torch.device) -> None:
    if device.type != "cuda" or train.dtype not in ("bfloat16", "pure_bfloat16"):
        return
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise FwplanError(
            f"{device_name(device)} has no bfloat16 arithmetic, which dtype {train.dtype!r} needs",
            where="train.dtype",
            hint='set dtype "float16" or "float32"',
        )


def _check_attention(train: TrainSpec, device: torch.device) -> None:
    if train.attention == "efficient" and device.type != "cuda":
        raise FwplanError(
            f"attention 'efficient' exists on CUDA only, not on {device.type}",
            where="train.attention",
            hint='set attention "flash" (torch then takes its fastest kernel) or "math"',
        )


def _check_optimizer(train: TrainSpec, device: torch.device) -> None:
    try:
        train.optimizer.build(torch.nn.Linear(1, 1, device=device))
    except RuntimeError as error:
        raise FwplanError(
            f"optimizer_impl {train.optimizer.implementation!r} is not available on {device.type}: {error}",
            where="train.optimizer_impl",
            hint='set optimizer_impl "foreach" or "for_loop"',
        ) from error


def _check_compiler(device: torch.device) -> None:
    if device.type != "cpu":
        return
    default = {"win32": "cl", "darwin": "clang++"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", default)
    if shutil.which(compiler) is None:
        raise FwplanError(
            f"torch.compile on CPU needs a C++ compiler, and there is no {compiler!r} here",
            where="train.compile",
            hint=f"set compile false, or install {compiler}",
        )


@contextlib.contextmanager
def clear_errors(spec: RunSpec) -> Iterator[None]:
    """Turn what torch raises when memory or its compiler fails into a FwplanError with a way out."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise _out_of_memory(spec, str(error)) from error
    except RuntimeError as error:
        kind = type(error).__module__
        if kind.startswith(("torch._dynamo", "torch._inductor")):
            if "out of memory" in str(error):
                raise _out_of_memory(spec, str(error)) from error
            raise FwplanError(
                f"torch.compile failed: {_first_line(error)}", where="train.compile", hint="set compile false"
            ) from error
        if "can't allocate memory" in str(error):  # torch's CPU allocator raises no type of its own
            raise _out_of_memory(spec, str(error)) from error
        raise


def _out_of_memory(spec: RunSpec, said: str) -> FwplanError:
    micro = spec.train.micro_batch_size
    smaller = f"micro_batch_size {micro // 2}" if micro > 1 else "a shorter sequence_length or a smaller model"
    return FwplanError(
        f"out of memory at micro_batch_size {micro}, sequence_length {spec.sequence_length}: {_first_line(said)}",
        where="train.micro_batch_size",
        hint=f"try {smaller}; `fwplan explain` on this spec says what else helps",
        exit_code=ExitCode.DOES_NOT_FIT,
    )


def _first_line(said: object) -> str:
    return next((line.strip() for line in str(said).splitlines() if line.strip()), type(said).__name__)
