"""Peak memory of one optimizer step: the lines, their sum in each phase, and the interval around the largest."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from fwplan.estimators import overhead
from fwplan.estimators.activations import block_backward_lines, weight_copy_lines
from fwplan.estimators.activations import saved_lines as activation_lines
from fwplan.estimators.attention import attention_lines
from fwplan.estimators.compiled import compiled_lines
from fwplan.estimators.compiled_evaluation import compiled_evaluation_lines
from fwplan.estimators.evaluation import evaluation_lines
from fwplan.estimators.line import Line, phase_totals
from fwplan.estimators.loss import loss_lines
from fwplan.estimators.optimizer import gradient_lines, persistent_lines, saved_lines, step_lines
from fwplan.estimators.phases import EVALUATION, EVERY_PHASE, STEP_PHASES, Phase
from fwplan.estimators.sizes import Sizes, sizes
from fwplan.units import MIB

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fwplan.estimators.line import Status
    from fwplan.spec import RunSpec, TrainSpec


@dataclass(frozen=True)
class Memory:
    """Peak allocated bytes (live tensors) of a run, the phase it falls in, and the lines that explain it."""

    lines: tuple[Line, ...]
    totals: dict[Phase, int]
    phase: Phase
    allocated_bytes: int
    step_bytes: int  # the peak of a training step alone, which is what a run measures
    allocated_interval: tuple[int, int]
    status: Status

    @property
    def evaluation_bytes(self) -> int | None:
        """The peak of an evaluation, where its micro-batch is larger than a training step's."""
        return max([total for when, total in self.totals.items() if when & EVALUATION], default=None)


def unsupported(spec: RunSpec) -> str | None:
    """Return why this spec's memory cannot be estimated, or None where it can."""
    train = spec.train
    if train.parallel == "fsdp":
        return "parallel 'fsdp' shards weights per wrapped module: not modelled yet"
    if spec.device is not None and spec.device.type == "mps":
        return "memory on Apple GPUs (mps) is not modelled yet"
    return None


def estimate_memory(spec: RunSpec) -> Memory:
    """Return the peak allocated bytes of one step of a spec for which unsupported() is None."""
    s = sizes(spec)
    lines = tuple([line for line in memory_lines(s, spec) if line.bytes])
    totals = phase_totals(lines, phases_of(s))
    phase = max(totals, key=totals.__getitem__)
    step_bytes = totals[phase]
    if s.evaluates:
        step_bytes = max([total for when, total in totals.items() if when & STEP_PHASES])
    return Memory(
        lines=lines,
        totals=totals,
        phase=phase,
        allocated_bytes=totals[phase],
        step_bytes=step_bytes,
        allocated_interval=_interval(spec, s, lines, totals[phase]),
        status="exact" if is_traced(spec) and _prior_share(lines, phase) < LEAST_SHARE else "prior",
    )


LEAST_SHARE = 0.01  # a sum with less than this of unproven lines is as good as its exact ones


def _prior_share(lines: Sequence[Line], phase: Phase) -> float:
    bit = phase.value
    alive = [line for line in lines if int(line.phases) & bit]  # an enum's & is slow
    return sum([line.bytes for line in alive if line.status == "prior"]) / sum([line.bytes for line in alive])


def evaluation_memory(spec: RunSpec) -> Memory:
    """Return the peak allocated bytes of a run that only evaluates, in micro-batches of its training's size.

    There are no gradients, and AdamW makes its moments in the first step, which never comes.
    """
    s = sizes(spec)
    s = s._replace(evaluates=True, evaluated=s.N)
    weights = next(iter(saved_lines(s, spec.train)))
    inner = compiled_evaluation_lines(s) if s.compiled else evaluation_lines(s)
    lines = tuple(
        [line for line in (weights, *inner, *([_workspaces_line(_card(spec))] if s.cuda else [])) if line.bytes]
    )
    totals = phase_totals(lines, phases_of(s) & EVALUATION)
    phase = max(totals, key=totals.__getitem__)
    peak = totals[phase]
    status: Status = "exact" if is_traced(spec) and _prior_share(lines, phase) < LEAST_SHARE else "prior"
    return Memory(lines, totals, phase, peak, peak, _interval(spec, s, lines, peak), status)


def phases_of(s: Sizes) -> Phase:
    """Return the phases that a run of this kind has."""
    return _phases(s.chunked, s.sums_tied_gradients, s.evaluates, s.scores, s.compiled)


_ATTENTION = Phase.TOP_ATTENTION_BACKWARD | Phase.BOTTOM_ATTENTION_BACKWARD | Phase.EVALUATION_ATTENTION


@cache
def _phases(chunked: bool, sums_tied_gradients: bool, evaluates: bool, scores: bool, compiled: bool) -> Phase:
    absent = Phase(0) if chunked else Phase.LOSS_WEIGHT_GRADIENT
    absent |= Phase(0) if sums_tied_gradients else Phase.TIED_GRADIENT_SUM
    absent |= Phase(0) if evaluates else EVALUATION
    absent |= Phase(0) if scores and not compiled else _ATTENTION
    return EVERY_PHASE & ~absent


def memory_lines(s: Sizes, spec: RunSpec) -> list[Line]:
    """Return every line of the spec's kind of run in these sizes, those of zero bytes too."""
    lines = [*persistent_lines(s, spec.train), *step_lines(s, spec.train)]
    if s.compiled:
        lines += compiled_lines(s, spec)
    else:
        lines += gradient_lines(s)
        lines += weight_copy_lines(s)
        lines += activation_lines(s)
        lines += attention_lines(s)
        lines += loss_lines(s, spec.train)
        lines += block_backward_lines(s)
        lines += evaluation_lines(s)
    if s.cuda:
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
    return train.parallel == "none" and train.optimizer != "adamw_8bit" and not train.compile


def relative_error(train: TrainSpec) -> float:
    """Return how far from the formula a peak may be, beside what is known in bytes: the least sure part decides."""
    errors = [overhead.EAGER_ERROR]
    if train.compile:
        errors.append(overhead.COMPILED_LOGITS_ABOVE if train.returns_logits else overhead.COMPILED_ABOVE)
    if train.parallel != "none":
        errors.append(overhead.UNPROVEN_ERROR)
    if train.optimizer == "adamw_8bit":
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
    pads = train.compile and train.loss == "full" and train.dtype in {"bfloat16", "float16"} and vocabulary % 8 != 0
    return int(likely.high - likely.point) + (2 * vocabulary if pads else 0) * tokens


def _interval(spec: RunSpec, s: Sizes, lines: Sequence[Line], allocated: int) -> tuple[int, int]:
    """Return the least and the most that the live tensors may be, in bytes."""
    error = relative_error(spec.train)
    low, high = (1 - error) * _least(spec, s, lines, allocated), (1 + error) * allocated + bytes_above(spec, s.N)
    if s.cuda:
        likely = overhead.workspaces(_card(spec))
        low -= likely.point - likely.low
    return max(int(low), _at_the_optimizer_step(lines)), int(high)


def _least(spec: RunSpec, s: Sizes, lines: Sequence[Line], allocated: int) -> int:
    """Return the peak if the logits' gradient is written over the logits, where nobody else holds them.

    That is gained in the phases of the loss alone: another phase's peak stays.
    """
    if not (spec.train.compile and s.cuda) or s.chunked or spec.train.returns_logits:
        return allocated
    others = [line for line in lines if line.name != "gradient: logits"]
    return max(phase_totals(others, phases_of(s)).values())


def _at_the_optimizer_step(lines: Sequence[Line]) -> int:
    """Return what no run does without: weights, moments and all gradients, as far as they are known to the byte."""
    bit = Phase.OPTIMIZER_STEP.value
    return sum([line.bytes for line in lines if int(line.phases) & bit and line.status != "prior"])
