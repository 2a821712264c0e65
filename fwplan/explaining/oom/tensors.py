"""Which tensor of a run an out-of-memory message is about: by its size, the traceback's moment and what was alive."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Any

from fwplan.allocator.settings import Settings
from fwplan.allocator.sizes import rounded, segment_bytes
from fwplan.estimators.parameters import weights
from fwplan.explaining.oom.traceback import ITEM_BYTES
from fwplan.tape.phases import EVALUATION, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fwplan.estimators.memory import Memory
    from fwplan.explaining.oom.log import Log
    from fwplan.explaining.oom.message import Message
    from fwplan.explaining.oom.traceback import Moment
    from fwplan.model.architecture import Architecture
    from fwplan.tape.line import Line

_DEFAULT = Settings()
_BACKWARD = Phase(
    Phase.LOSS_BACKWARD | Phase.HEAD_BACKWARD | Phase.TOP_BLOCK_BACKWARD | Phase.MIDDLE_BLOCKS_BACKWARD
    | Phase.BOTTOM_BLOCK_BACKWARD | Phase.END_OF_BACKWARD
)  # fmt: skip
_PHASES: dict[Moment, Phase] = {
    "forward": Phase.FORWARD | Phase.LOSS_FORWARD | Phase.LOSS_WEIGHT_GRADIENT,
    "backward": _BACKWARD,
    "optimizer step": Phase.OPTIMIZER_STEP,
    "evaluation": EVALUATION,
    "set-up": Phase(0),
}
IN_BLOCKS = "forward, through the blocks"


@dataclass(frozen=True)
class Candidate:
    """A tensor of the run that has the size in question.

    Attributes:
        name: its line's, or the weight's.
        shape: of one such tensor.
        dtype: of its elements.
        bytes: its own size.
        when: the phase in which it is made, as printed; None where its size alone does not say.
        phase: the same, where it is one of the estimate's; None in the middle of the forward, or during set-up.
        of: how many of its kind the run makes.
        live_bytes: what the estimate has alive just before it is made; None where that grows from block to block.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    when: str | None
    phase: Phase | None
    of: int = 1
    live_bytes: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the tensor as `explain --log --json` prints it."""
        return {
            "name": self.name, "shape": self.shape, "dtype": self.dtype, "bytes": self.bytes, "phase": self.when,
            "of": self.of, "live_before_bytes": self.live_bytes,
        }  # fmt: skip


def is_size(log: Log, n_bytes: int) -> bool:
    """Return whether the message may be about a tensor of so many bytes."""
    if log.strided is not None:
        return n_bytes == log.strided.bytes
    asked = log.message.requested
    if asked is None:
        return False
    if asked.holds(n_bytes):
        return True
    # A request of over 10 MiB has a segment of its own; below that one segment serves many, and says nothing.
    return log.message.rounded and tells_size(log.message) and asked.holds(segment(n_bytes))


def segment(n_bytes: int) -> int:
    """Return what the caching allocator asks of the driver for a tensor of so many bytes."""
    return segment_bytes(rounded(n_bytes, _DEFAULT), _DEFAULT)


def tells_size(message: Message) -> bool:
    """Return whether the size asked for is some tensor's, and not a segment that many small ones share."""
    asked = message.requested
    return asked is not None and not (message.rounded and any(asked.holds(segment(n)) for n in (1, 5 * 2**20)))


def candidates(log: Log, memory: Memory, model: Architecture) -> list[Candidate]:
    """Return the run's tensors of that size, the likeliest first: at the traceback's moment, with as much alive."""
    found = [*_lines(log, memory), *_weights(log, model)]
    return sorted(found, key=lambda one: _distance(one, log, memory))


def _distance(one: Candidate, log: Log, memory: Memory) -> tuple[float, ...]:
    at_moment = log.moment is None or _at(one, log.moment)
    live = log.message.allocated
    if live is None or one.live_bytes is None:
        return (not at_moment, one.phase is None, 0.0 if one.phase is memory.phase else 1.0)
    return (not at_moment, False, abs(one.live_bytes - live.bytes) / max(live.bytes, 1.0))


def _at(one: Candidate, moment: Moment) -> bool:
    if one.phase is None:
        return one.when == (IN_BLOCKS if moment == "forward" else moment)
    return bool(one.phase & _PHASES[moment])


def _lines(log: Log, memory: Memory) -> Iterator[Candidate]:
    for line in memory.lines:
        size = _tensor_bytes(line)
        if size is None or line.shape is None or line.dtype is None or not is_size(log, size):
            continue
        of = max(1, round(line.bytes / size))
        if of > 1 or (line.kind == "saved" and line.phases & Phase.TOP_BLOCK_BACKWARD):
            yield Candidate(line.name, line.shape, line.dtype, size, IN_BLOCKS, None, of)
            continue
        for phase, total in memory.totals.items():
            if line.phases & phase and _made_in(line, phase):
                if log.moment == "evaluation" and not phase & EVALUATION:
                    yield Candidate(line.name, line.shape, line.dtype, size, "evaluation", None)
                    continue
                missing = _not_yet(line, size, phase, memory)
                yield Candidate(line.name, line.shape, line.dtype, size, phase.label, phase, 1, total - missing)


def _made_in(line: Line, phase: Phase) -> bool:
    """Return whether a tensor is made in this phase, and not just still alive in it."""
    return line.phases & phase == line.phases & -int(line.phases) or line.kind == "persistent"


def _not_yet(line: Line, size: int, phase: Phase, memory: Memory) -> int:
    """Return the bytes of a phase that are not there yet when a tensor is made: its own, and its equals after it."""
    made = [other for other in memory.lines if other.phases & phase and _tensor_bytes(other) == size == other.bytes]
    made = [other for other in made if _made_in(other, phase) and other.kind != "persistent"]
    return size * (len(made) - made.index(line)) if line in made else size


def _tensor_bytes(line: Line) -> int | None:
    if line.shape is None or line.dtype not in ITEM_BYTES:
        return None
    return prod(line.shape) * ITEM_BYTES[line.dtype]


def _weights(log: Log, model: Architecture) -> Iterator[Candidate]:
    """Yield the weights of that size, one of each kind: as a weight, its gradient, a moment or a copy of one."""
    step = "foreach's copy of AdamW's moment of" if log.foreach else "AdamW moment of"
    when = "optimizer step" if log.moment == "optimizer step" else "set-up" if log.moment == "set-up" else None
    kinds: dict[tuple[str, tuple[int, ...]], int] = {}
    for weight in weights(model):
        name = ".".join(part for part in weight.name.removeprefix("trunk.").split(".") if not part.isdigit())
        kinds[name, weight.shape] = kinds.get((name, weight.shape), 0) + 1
    for (name, shape), of in kinds.items():
        if is_size(log, 4 * prod(shape)):
            what = {"optimizer step": step, "set-up": "weight"}.get(when or "", "weight, gradient or moment:")
            phase = Phase.OPTIMIZER_STEP if when == "optimizer step" else None
            yield Candidate(f"{what} {name}", shape, "float32", 4 * prod(shape), when, phase, of)
