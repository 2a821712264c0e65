"""One line of a results file: a spec, what was predicted for it, and what its steps took or why they did not."""

from __future__ import annotations

import json
from typing import Literal, TypeAlias

from fwplan.budget import device_use
from fwplan.estimators.memory import estimate_memory, unsupported
from fwplan.fields import Bytes, Count, Spec
from fwplan.measurement import Measurement  # noqa: TC001  # pydantic reads it when the class is made
from fwplan.spec import RunSpec  # noqa: TC001  # pydantic reads it when the class is made

Status: TypeAlias = Literal["measured", "oom", "timeout", "failed"]


class Predicted(Spec):
    """The formula's peak of live tensors in bytes, before any calibration."""

    allocated_bytes: Count  # of a training step
    interval: tuple[int, int]
    phase: str
    evaluation_bytes: Bytes | None  # where an evaluation's micro-batch is larger than a step's
    status: str


class FirstStep(Spec):
    """The first step: it compiles, tunes kernels and makes the moments. Memory is None where it is not counted."""

    seconds: float
    peak_allocated_bytes: Bytes | None = None
    peak_reserved_bytes: Bytes | None = None
    rss_bytes: Bytes | None = None


class Footing(Spec):
    """What stands on the device between steps, in bytes; None where the device does not say.

    allocated_after_bytes less tensors_after_bytes is what libraries hold and what the allocator rounds up;
    workspace_bytes of it is cuBLAS's. device_in_use_before_bytes was counted before CUDA was woken: others' use;
    device_in_use_with_context_bytes just after it, before the first tensor.
    """

    allocated_before_bytes: Bytes
    allocated_after_bytes: Bytes
    tensors_after_bytes: Bytes
    workspace_bytes: Bytes | None = None
    device_in_use_before_bytes: Bytes | None = None
    device_in_use_with_context_bytes: Bytes | None = None
    alloc_retries: int | None = None  # times the allocator gave its cache back and tried again


class Shortage(Spec):
    """What an out-of-memory error left to be read, in bytes: the peaks before it, and the request that failed."""

    allocated_bytes: Bytes | None
    reserved_bytes: Bytes | None
    tried_bytes: Bytes | None
    said: str


class Report(Spec):
    """What a worker hands back, one of three ways: a measurement, a shortage, or the reason why there is neither."""

    measurement: Measurement | None = None
    first_step: FirstStep | None = None
    footing: Footing | None = None
    evaluation_peak_bytes: Bytes | None = None
    shortage: Shortage | None = None
    error: str | None = None


class Machine(Spec):
    """What measures: the device and the versions of everything that has a say in its memory."""

    device_type: Literal["cpu", "cuda"]
    device_name: str
    device_total_bytes: Bytes | None
    versions: dict[str, str]


class Result(Report):
    """One spec's line: what its worker reported, beside what was asked for. `error` says why nothing was measured."""

    status: Status
    oom: bool  # repeats the status, for who filters lines with a text tool
    spec: RunSpec
    machine: Machine
    predicted: Predicted | None  # None: a mode that is not modelled
    seconds: float  # the whole process
    limit_seconds: float
    measured_at: str  # ISO 8601, UTC
    log: str | None = None  # the end of a failed process's stderr

    @property
    def key(self) -> str:
        """What makes two results the same: spec, device, torch."""
        return key(self.spec, self.machine)

    @property
    def own_device_bytes(self) -> int | None:
        """Device use less what others held before; None where nvidia-smi did not say, or nothing was measured."""
        before = self.footing.device_in_use_before_bytes if self.footing else None
        if self.measurement is None or self.measurement.device_used_bytes is None or before is None:
            return None
        return self.measurement.device_used_bytes - before

    @property
    def error_ratio(self) -> float | None:
        """Predicted over measured peak of a step, less one."""
        if self.measurement is None or self.predicted is None:
            return None
        return self.predicted.allocated_bytes / self.measurement.peak_allocated_bytes - 1

    @property
    def evaluation_error_ratio(self) -> float | None:
        """The same of the evaluation's own peak."""
        if not self.evaluation_peak_bytes or self.predicted is None or self.predicted.evaluation_bytes is None:
            return None
        return self.predicted.evaluation_bytes / self.evaluation_peak_bytes - 1


def key(spec: RunSpec, machine: Machine) -> str:
    """Return the text by which a results file is searched for a spec on a machine."""
    run = spec.model_dump(mode="json", exclude={"device", "data"})
    return json.dumps([run, machine.device_type, machine.device_name, machine.versions.get("torch")], sort_keys=True)


def predict(spec: RunSpec) -> Predicted | None:
    """Return the formula's peak of the spec on its own device; None where its mode is not modelled."""
    if unsupported(spec):
        return None
    alone = spec.model_copy(update={"train": spec.train.model_copy(update={"eval_micro_batch_size": None})})
    step, whole = estimate_memory(alone), estimate_memory(spec)
    return Predicted(
        allocated_bytes=step.allocated_bytes,
        interval=device_use(alone, step, spec.device.type if spec.device else "cuda", None).allocated.ends,
        phase=step.phase.label,
        evaluation_bytes=whole.evaluation_bytes,
        status=step.status,
    )
