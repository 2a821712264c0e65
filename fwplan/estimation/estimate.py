"""A RunSpec becomes an Estimate: memory, verdict, FLOPs, time, energy, expected loss."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from fwplan.estimation.mode_notes import mode_notes
from fwplan.estimators.levels import Use, Verdict, available_bytes, device_use, verdict
from fwplan.estimators.memory import Memory, estimate_memory, evaluation_memory, unsupported
from fwplan.estimators.parameters import ParameterCount, count_parameters
from fwplan.estimators.quality import ExpectedLoss, expected_loss, vocabulary_in_range
from fwplan.estimators.speed import Flops, energy_kwh, evaluation_share, model_flops, step_seconds
from fwplan.estimators.tokens import Tokens, count_run_tokens
from fwplan.learning.calibration import calibrate
from fwplan.learning.store import load_measurements
from fwplan.machine.target import Target, named_gpu, own_target, speed_of
from fwplan.tape.line import Line
from fwplan.tape.phases import EVERY_PHASE, Phase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.learning.calibration import Calibration
    from fwplan.learning.measurement import Measurement
    from fwplan.spec import RunSpec

Interval = tuple[float, float]


@dataclass(frozen=True)
class Estimate:
    """All that fwplan says about a run. Memory in bytes, time in seconds; None is unknown, never zero."""

    spec: RunSpec
    target: Target | None
    parameters: ParameterCount
    memory: Memory | None
    undecidable: str | None  # why there is no verdict
    use: Use | None
    available_bytes: int | None
    verdict: Verdict
    flops: Flops
    tokens: Tokens
    step_seconds: Interval | None
    time_status: str | None
    total_seconds: Interval | None
    energy_kwh: Interval | None
    loss: ExpectedLoss | None
    calibration: Calibration | None

    @property
    def lines(self) -> tuple[Line, ...]:
        """Every line of the memory estimate; those of a phase add up to its total, a measured correction included."""
        if self.memory is None or self.use is None:
            return ()
        correction = round(self.use.allocated.point) - self.memory.allocated_bytes
        if self.calibration is None or correction == 0:
            return self.memory.lines
        return (*self.memory.lines, Line(
            f"correction ({self.calibration.runs} measured runs)", correction, None, None, EVERY_PHASE, "persistent",
            f"{round(self.use.allocated.point)} - {self.memory.allocated_bytes}",
            "the measurement store: measured less predicted", "calibrated",
        ))  # fmt: skip

    @property
    def totals(self) -> dict[Phase, int]:
        """Bytes allocated in each phase, a measured correction included: it is the peak's, so others may reach 0."""
        if self.memory is None or self.use is None:
            return {}
        correction = round(self.use.allocated.point) - self.memory.allocated_bytes
        return {phase: max(total + correction, 0) for phase, total in self.memory.totals.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed of the device, and what it does not do as the run asks."""
        return (*(self.target.notes if self.target else ()), *mode_notes(self.spec, self.target))

    def at_peak(self) -> list[Line]:
        """Return the lines alive at the peak, largest first; they add up to the allocated peak."""
        if self.memory is None:
            return []
        alive = [line for line in self.lines if line.phases & self.memory.phase and line.bytes]
        return sorted(alive, key=lambda line: -line.bytes)

    @property
    def memory_status(self) -> str:
        """How far the peak is to be trusted: exact, prior or calibrated."""
        if self.calibration is not None and self.calibration.allocated_ratio is not None:
            return "calibrated"
        return self.memory.status if self.memory else "unknown"

    def as_dict(self) -> dict[str, Any]:
        """Return the estimate as `explain --json` prints it; bytes are integers."""
        return {
            "verdict": self.verdict,
            "undecidable": self.undecidable,
            "device": self.target.device.model_dump() if self.target else None,
            "available_bytes": self.available_bytes,
            "parameters": {"total": self.parameters.total, "non_position": self.parameters.non_position},
            "peak": self._peak(),
            "lines": [_line(line) for line in self.lines],
            "flops": {
                "per_token": self.flops.per_token, "per_step": self.flops.per_step, "total": self.flops.total
            },
            "tokens": {
                "per_step": self.tokens.per_step, "total": self.tokens.total,
                "per_epoch": self.tokens.per_epoch, "epochs": self.tokens.epochs,
            },
            "steps": self.spec.steps,
            "time": {
                "step_seconds": self.step_seconds, "total_seconds": self.total_seconds, "status": self.time_status
            },
            "energy_kwh": self.energy_kwh,
            "expected_loss": [self.loss.low, self.loss.point, self.loss.high] if self.loss else None,
            "calibration_runs": self.calibration.runs if self.calibration else 0,
        }  # fmt: skip

    def _peak(self) -> dict[str, Any] | None:
        if self.memory is None or self.use is None:
            return None
        return {
            "allocated_bytes": round(self.use.allocated.point),
            "allocated_interval": self.use.allocated.ends,
            "reserved_bytes": self.use.reserved.ends if self.use.reserved else None,
            "device_used_bytes": self.use.device_used.ends,
            "needed_bytes": self.use.needed.ends,
            "phase": self.memory.phase.label,
            "status": self.memory_status,
        }


def _line(line: Line) -> dict[str, Any]:
    phases = [phase.label for phase in Phase if phase & line.phases]
    return line._asdict() | {"phases": phases}


def estimate(
    spec: RunSpec, target: Target | str | None = None, *, measurements: Sequence[Measurement] | None = None
) -> Estimate:
    """Return the Estimate of a run.

    Args:
        spec: the run.
        target: the device it is meant for, or a card's name; None takes the spec's own device, if it names one.
        measurements: past runs to learn from; None reads the store.

    Raises:
        FwplanError: the measurement store exists but cannot be read.
    """
    if isinstance(target, str):
        target = named_gpu(target)
    if target is None:
        target = own_target(spec)
    if target is not None:
        spec = spec.model_copy(update={"device": target.device})
    past = load_measurements() if measurements is None else measurements
    reason = unsupported(spec)
    memory = None if reason else estimate_memory(spec)
    calibration = calibrate(spec, memory.step_bytes if memory else 0, target.label, past) if target else None
    use = device_use(spec, memory, target.device.type if target else "cuda", calibration) if memory else None
    available = available_bytes(target.device) if target else None
    if target is not None and available is None:
        reason = reason or f"the memory of {target.label} is unknown"
    parameters, tokens = count_parameters(spec.model), count_run_tokens(spec)
    speed = speed_of(spec.train, target) if target else None
    measured = calibration.step_seconds(spec, speed) if calibration else None
    seconds = measured or (step_seconds(spec, speed) if speed else None)
    run = spec.steps * (1 + evaluation_share(spec)) if spec.steps else None
    total = (seconds[0] * run, seconds[1] * run) if seconds and run else None
    return Estimate(
        spec=spec,
        target=target,
        parameters=parameters,
        memory=memory,
        undecidable=reason,
        use=use,
        available_bytes=available,
        verdict="undecidable" if reason or use is None else verdict(use, available),
        flops=model_flops(spec),
        tokens=tokens,
        step_seconds=seconds,
        time_status=None if seconds is None else "calibrated" if measured else "prior",
        total_seconds=total,
        energy_kwh=energy_kwh(total, speed.watts, spec.train.parallel.world_size) if total and speed else None,
        loss=_loss(spec, parameters, tokens),
        calibration=calibration,
    )


def estimate_evaluation(spec: RunSpec, target: Target | None) -> Estimate:
    """Return the Estimate of a run that only evaluates: its memory and its forward's work, without a time.

    Runs that were measured trained: they say nothing about it.
    """
    training = estimate(spec, target, measurements=[])
    spec, target = training.spec, training.target
    memory = None if training.memory is None else evaluation_memory(spec)
    use = device_use(spec, memory, target.device.type if target else "cuda", None) if memory else None
    tokens, forward = spec.tokens_per_micro_batch, training.flops.per_token / 3  # backward is twice the forward
    total = 2 * spec.train.eval_batches * tokens  # of both splits
    return replace(
        training,
        memory=memory,
        use=use,
        verdict=training.verdict if training.undecidable or use is None else verdict(use, training.available_bytes),
        flops=Flops(forward, forward * tokens, forward * total),
        tokens=replace(training.tokens, per_step=tokens, total=total, epochs=None),
        step_seconds=None,
        time_status=None,
        total_seconds=None,
        energy_kwh=None,
        loss=None,
        calibration=None,
    )


def _loss(spec: RunSpec, parameters: ParameterCount, tokens: Tokens) -> ExpectedLoss | None:
    """Return the loss to expect; None: no horizon, another vocabulary than the laws', or far below their data."""
    if not tokens.total or not vocabulary_in_range(spec.model.vocab_size):
        return None
    return expected_loss(parameters.capacity, tokens.total, tokens.per_epoch)
