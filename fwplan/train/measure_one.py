"""A few real steps of one spec, measured in a process of its own.

    echo '{"model": ..., "train": ..., "device": {"type": "cpu"}}' | python -m fwplan.train.measure_one

One JSON line on stdout: a fwplan.learning.result.Report. Running out of memory is such a report, too.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import traceback
from typing import IO, TYPE_CHECKING

import torch

from fwplan.errors import FwplanError
from fwplan.estimators.memory import estimate_memory, unsupported
from fwplan.learning.orphan import die_with_parent
from fwplan.learning.result import FirstStep, Report, Shortage
from fwplan.machine.cpu import detect_cpu
from fwplan.spec import parse_spec
from fwplan.train.device import check_supported, clear_errors, resolve_device
from fwplan.train.dry_run import random_batches
from fwplan.train.evaluate import evaluate
from fwplan.train.footing import Ground
from fwplan.train.live_memory import measure_live_memory
from fwplan.train.measure import StepMeter, peak_rss, persistent
from fwplan.train.step import build_trainer, train_step
from fwplan.units import GIB, KIB, MIB

if TYPE_CHECKING:
    from fwplan.spec import RunSpec
    from fwplan.train.batches import Batches
    from fwplan.train.step import Trainer

WHOLE_STEPS = 4  # after the optimizer's first: one that warms up or is profiled, and three that are timed
MOST_SKIPPED_STEPS = 30  # float16: its loss scale halves until a step is finite
# torch's allocators, the CUDA driver, cuBLAS and cuDNN, the C++ runtime
_SAY_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED", "bad_alloc")
_UNITS = {"bytes": 1, "KiB": KIB, "MiB": MIB, "GiB": GIB}


def measure_one(spec: RunSpec) -> Report:
    """Return what a few steps of the spec take on its device, on random tokens.

    Raises:
        FwplanError: the spec cannot run there.
    """
    device = resolve_device(spec.device.type if spec.device else "cpu")
    ground = Ground(device)
    check_supported(spec, device)
    try:
        with clear_errors(spec), random_batches(spec, device) as batches:
            return _measured(spec, device, batches, ground)
    except Exception as error:
        shortage = _shortage(error, device)
        if shortage is None:
            raise
        return Report(shortage=shortage)


def _measured(spec: RunSpec, device: torch.device, batches: Batches, ground: Ground) -> Report:
    torch.manual_seed(spec.train.seed)
    trainer = build_trainer(spec, device)
    meter = StepMeter(trainer)
    evaluated = (spec.train.eval_micro_batch_size or 0) > spec.train.micro_batch_size
    if evaluated:
        evaluate(trainer, batches.validation(1))  # a run begins with one, and the allocator keeps what it took
    ground.before_steps(trainer)
    first = _steps(meter, batches)
    predicted = 1 if unsupported(spec) else estimate_memory(spec).step_bytes
    return Report(
        measurement=meter.measurement(predicted),
        first_step=first,
        evaluation_peak_bytes=_evaluation_peak(trainer, batches) if evaluated else None,
        footing=ground.after_steps(trainer),
    )


def _steps(meter: StepMeter, batches: Batches) -> FirstStep:
    """Take the first step, then, once the optimizer has taken one, those that are measured."""
    _, seconds = meter.run(batches.step(0))
    first, step = _first_step(meter.trainer.device, seconds), 1
    while not meter.taken:
        if step > MOST_SKIPPED_STEPS:
            raise FwplanError(f"none of {step} steps was finite", hint="is float16 wide enough for this model?")
        train_step(meter.trainer, batches.step(step))
        step += 1
    for whole in range(step, step + WHOLE_STEPS):
        meter.run(batches.step(whole))
    return first


def _first_step(device: torch.device, seconds: float) -> FirstStep:
    if device.type != "cuda":
        return FirstStep(seconds=seconds, rss_bytes=peak_rss())
    return FirstStep(
        seconds=seconds,
        peak_allocated_bytes=torch.cuda.max_memory_allocated(device),
        peak_reserved_bytes=torch.cuda.max_memory_reserved(device),
    )


def _evaluation_peak(trainer: Trainer, batches: Batches) -> int:
    """Return the peak of live tensors, in bytes, while one evaluation micro-batch runs between steps."""
    if trainer.device.type != "cuda":
        return measure_live_memory(lambda: evaluate(trainer, batches.validation(1)), persistent(trainer)).peak_bytes
    torch.cuda.reset_peak_memory_stats(trainer.device)
    evaluate(trainer, batches.validation(1))
    return torch.cuda.max_memory_allocated(trainer.device)


def _shortage(error: Exception, device: torch.device) -> Shortage | None:
    """Return what can be known of an out-of-memory error, or None where the error is another one."""
    said = str(error.__cause__ or error)
    if not isinstance(error, MemoryError) and not any(words in said for words in _SAY_OUT_OF_MEMORY):
        return None
    cuda = device.type == "cuda"
    return Shortage(
        allocated_bytes=torch.cuda.max_memory_allocated(device) if cuda else None,
        reserved_bytes=torch.cuda.max_memory_reserved(device) if cuda else None,
        tried_bytes=tried_bytes(said),
        said=_first_line(said),
    )


def tried_bytes(said: str) -> int | None:
    """Return the bytes of the request that an out-of-memory message is about; None where it does not say."""
    match = re.search(r"[Tt]ried to allocate ([0-9.]+) (bytes|[KMG]iB)", said)
    return round(float(match.group(1)) * _UNITS[match.group(2)]) if match else None


def _first_line(said: str) -> str:
    return next((line.strip() for line in said.splitlines() if line.strip()), "out of memory")


def _cap_memory() -> None:
    """Cap a CPU run at the memory that is free, so that it gets an error and not the system's out-of-memory killer."""
    free = detect_cpu(probe=None).available_bytes
    if sys.platform != "linux" or free is None:
        return
    import resource  # noqa: PLC0415 - does not exist on Windows

    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    with contextlib.suppress(OSError, ValueError):  # where the limit is lower already
        resource.setrlimit(resource.RLIMIT_DATA, (free, hard))


def _result_stream() -> IO[str]:
    """Return the real stdout; what libraries print from here on goes to stderr."""
    own = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return own


def _report(text: str) -> Report:
    """Return the report of a spec's JSON; whatever goes wrong is one, with its traceback on stderr."""
    try:
        spec = parse_spec(json.loads(text), "stdin")
        if spec.device is None or spec.device.type == "cpu":
            _cap_memory()
        return measure_one(spec)
    except FwplanError as error:
        return Report(error=error.message)
    except Exception as error:  # noqa: BLE001  # one line for the results file, all of it for its log
        traceback.print_exc()
        return Report(error=f"{type(error).__name__}: {_first_line(str(error))}")


def main() -> None:
    """Read a spec from stdin, write its report to stdout."""
    die_with_parent()
    with _result_stream() as out:
        out.write(_report(sys.stdin.read()).model_dump_json() + "\n")


if __name__ == "__main__":
    main()
