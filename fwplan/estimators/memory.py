"""Peak memory of one optimizer step: the lines, their sum in each phase, and the interval around the largest."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

from fwplan.estimators import overhead
from fwplan.estimators.moments.evaluate import largest, widest
from fwplan.estimators.moments.evaluate import lines as tape_lines
from fwplan.estimators.moments.matrix import moments_of
from fwplan.estimators.moments.mode import donated, mode_of, numbers_of
from fwplan.tape.dtypes import DTYPES
from fwplan.tape.line import Line
from fwplan.tape.phases import EVALUATION, EVERY_PHASE, STEP_PHASES, Phase
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fwplan.spec import RunSpec, TrainSpec
    from fwplan.tape.line import Status


@dataclass(frozen=True)
class Memory:
    """Peak allocated bytes (live tensors) of a run, the phase it falls in, and the lines that explain it."""

    totals: dict[Phase, int]
    phase: Phase
    allocated_bytes: int
    step_bytes: int  # the peak of a training step alone, which is what a run measures
    status: Status
    make_interval: Callable[[], tuple[int, int]] = field(compare=False, repr=False)
    make_lines: Callable[[], Sequence[Line]] = field(compare=False, repr=False)

    @cached_property
    def allocated_interval(self) -> tuple[int, int]:
        """The least and the most that the live tensors may be at the peak, in bytes."""
        return self.make_interval()

    @cached_property
    def lines(self) -> tuple[Line, ...]:
        """What is alive in each phase, at its widest moment; the lines of a phase add up to its total."""
        return tuple(self.make_lines())

    @property
    def evaluation_bytes(self) -> int | None:
        """The peak of an evaluation, where its micro-batch is larger than a training step's."""
        return max([total for when, total in self.totals.items() if when & EVALUATION], default=None)


def unsupported(spec: RunSpec) -> str | None:
    """Return why this spec's memory cannot be estimated, or None where it can."""
    train = spec.train
    if train.parallel.unsupported is not None:
        return train.parallel.unsupported
    if spec.device is not None and spec.device.type == "mps":
        return "memory on Apple GPUs (mps) is not modelled yet"
    return spec.model.misfit(train)


def estimate_memory(spec: RunSpec) -> Memory:
    """Return the peak allocated bytes of one step of a spec for which unsupported() is None."""
    return _memory(spec)


def evaluation_memory(spec: RunSpec) -> Memory:
    """Return the peak allocated bytes of a run that only evaluates, in micro-batches of its training's size.

    There are no gradients, and AdamW makes its moments in the first step, which never comes.
    """
    return _memory(spec.but(eval_micro_batch_size=spec.train.micro_batch_size), trains=False)


def _memory(spec: RunSpec, *, trains: bool = True) -> Memory:
    """Return the memory of a step: of its widest moments on the tape."""
    numbers = numbers_of(spec)
    mode = mode_of(spec, evaluates=not trains or numbers["E"] > numbers["B"], trains=trains)
    moments = moments_of(mode)
    rows = widest(moments, numbers)
    beside = beside_tensors(spec, numbers["P"])
    unproven = sum([line.bytes for line in beside])
    totals = {phase: total + unproven for phase, (_, total) in rows.items()}
    phase = max(totals, key=totals.__getitem__)
    step = totals[phase]
    if phase & EVALUATION and trains:
        step = max([total for when, total in totals.items() if when & STEP_PHASES])
    floor = totals[Phase.OPTIMIZER_STEP] - unproven if trains else 0
    proven = is_traced(spec) and unproven < LEAST_SHARE * totals[phase]

    def interval() -> tuple[int, int]:
        sparing = donated(mode)
        least = totals[phase] if sparing is None else unproven + largest(moments_of(sparing), numbers)
        return _interval(spec, numbers["N"], totals[phase], least, floor)

    return Memory(
        totals=totals,
        phase=phase,
        allocated_bytes=totals[phase],
        step_bytes=step,
        status="exact" if proven else "prior",
        make_interval=interval,
        make_lines=lambda: (*tape_lines(moments, numbers, rows), *beside),
    )


LEAST_SHARE = 0.01  # a sum with less than this of unproven lines is as good as its exact ones


def beside_tensors(spec: RunSpec, parameters: Any) -> list[Line]:
    """Return what is alive in every phase beside the model's own tensors: cuBLAS's workspaces, DDP's buckets."""
    lines = spec.train.parallel.lines(DTYPES[spec.train.dtype][0], parameters)
    if spec.device is None or spec.device.type == "cuda":
        lines.append(_workspaces_line(_card(spec)))
    return lines


def _card(spec: RunSpec) -> str | None:
    return spec.device.name if spec.device else None


@cache
def _workspaces_line(card: str | None) -> Line:
    size, handles = overhead.workspaces(card).point, overhead.HANDLES
    return Line(
        "cuBLAS workspaces", int(size), None, None, EVERY_PHASE, "persistent",
        f"{handles}*{size / handles / MIB:g}*2**20",
        "aten/src/ATen/cuda/CublasHandlePool.cpp, see fwplan/estimators/overhead.py", "prior",
    )  # fmt: skip


def is_traced(spec: RunSpec) -> bool:
    """Return whether this mode's formula is confirmed op by op against real steps."""
    train = spec.train
    return train.parallel.proven and train.optimizer.traced and not train.compile


def relative_error(train: TrainSpec) -> float:
    """Return how far from the formula a peak may be, beside what is known in bytes: the least sure part decides."""
    errors = [overhead.EAGER_ERROR]
    if train.compile:
        errors.append(overhead.COMPILED_LOGITS_ABOVE if train.loss.returns_logits else overhead.COMPILED_ABOVE)
    if not train.parallel.proven:
        errors.append(overhead.UNPROVEN_ERROR)
    if not train.optimizer.traced:
        errors.append(overhead.QUANTISED_ERROR)
    return max(errors)


def bytes_above(spec: RunSpec, tokens: Any) -> Any:
    """Return what a peak may hold beyond the formula, in bytes, for a micro-batch of so many tokens, or arrays of them.

    Larger workspaces, and of a compiled full loss a second padded copy of the logits' gradient (overhead.py).
    """
    if spec.device is not None and spec.device.type != "cuda":
        return 0 * tokens
    likely = overhead.workspaces(_card(spec))
    train, vocabulary = spec.train, spec.model.vocab_size
    pads = (
        train.compile and train.loss.name == "full" and train.dtype in {"bfloat16", "float16"} and vocabulary % 8 != 0
    )
    return int(likely.high - likely.point) + (2 * vocabulary if pads else 0) * tokens


def _interval(spec: RunSpec, tokens: int, allocated: int, least: int, floor: int) -> tuple[int, int]:
    """Return the least and the most that the live tensors may be, in bytes.

    least: the peak where what may be written over another tensor is; floor: what no run does without.
    """
    error = relative_error(spec.train)
    low, high = (1 - error) * least, (1 + error) * allocated + bytes_above(spec, tokens)
    if spec.device is None or spec.device.type == "cuda":
        likely = overhead.workspaces(_card(spec))
        low -= likely.point - likely.low
    return max(int(low), floor), int(high)
