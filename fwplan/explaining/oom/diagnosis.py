"""The doctor: a log, with or without its config, becomes what was asked for, what was alive, and what would help."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fwplan.explaining.oom.contradictions import contradictions
from fwplan.explaining.oom.findings import findings
from fwplan.explaining.oom.guesses import Logits, logits
from fwplan.explaining.oom.tensors import Candidate, candidates
from fwplan.machine import gpus
from fwplan.machine.target import Target
from fwplan.spec import DeviceSpec

if TYPE_CHECKING:
    from fwplan.explaining.explanation import Explanation
    from fwplan.explaining.oom.log import Log
    from fwplan.explaining.oom.message import Message
    from fwplan.planning.fixes import Fix
    from fwplan.tape.line import Line

_SAME_CARD = 0.01  # a card's total differs by less between drivers
_GUESSES = 4


@dataclass(frozen=True)
class Diagnosis:
    """What a log says, beside what its config predicts.

    Attributes:
        log: the log as read.
        explanation: its config's, on the log's card; None where no config was given.
        candidates: the config's tensors of the size asked for, the likeliest first.
        guesses: without a config: logits tensors of that size.
        findings: what the message says by itself, as sentences.
        contradictions: where log and config disagree, as sentences.
    """

    log: Log
    explanation: Explanation | None
    candidates: tuple[Candidate, ...]
    guesses: tuple[Logits, ...]
    findings: tuple[str, ...]
    contradictions: tuple[str, ...]

    @property
    def moment(self) -> str | None:
        """When it happened: the likeliest tensor's phase, else what the traceback shows."""
        if self.candidates and self.candidates[0].when:
            return self.candidates[0].when
        return self.log.moment

    def alive(self) -> list[Line]:
        """Return the lines that the estimate has alive at that moment but the tensor itself, largest first."""
        first = self.candidates[0] if self.candidates else None
        if first is None or first.phase is None or self.explanation is None:
            return []
        phase = first.phase
        lines = [line for line in self.explanation.estimate.lines if line.phases & phase and line.name != first.name]
        return sorted(lines, key=lambda line: -line.bytes)

    def helpful(self) -> list[Fix]:
        """Return the fixes that help, in order; none where the log is not of this config's run."""
        if self.explanation is None or self.contradictions:
            return []
        return [fix for fix in self.explanation.fixes if fix.helps]

    def as_dict(self) -> dict[str, Any]:
        """Return the diagnosis as `explain --log --json` prints it."""
        strided = self.log.strided
        return {
            "message": self.log.message.as_dict() | {"count": self.log.count},
            "traceback": {
                "moment": self.log.moment,
                "compiled": self.log.compiled,
                "tensor": {"shape": strided.shape, "dtype": strided.dtype, "bytes": strided.bytes} if strided else None,
            },
            "printed": self.log.printed,
            "moment": self.moment,
            "tensors": [one.as_dict() for one in self.candidates],
            "guesses": [one._asdict() for one in self.guesses],
            "alive": [{"name": line.name, "bytes": line.bytes} for line in self.alive()],
            "findings": list(self.findings),
            "contradictions": list(self.contradictions),
            "saves_bytes": {fix.change: fix.saved_bytes for fix in self.helpful()},
            "config": self._config(),
        }

    def _config(self) -> dict[str, Any] | None:
        if self.explanation is None:
            return None
        return self.explanation.as_dict() | ({"fixes": []} if self.contradictions else {})


def diagnose(log: Log, explanation: Explanation | None) -> Diagnosis:
    """Return what a log says, beside what its config predicts where one is given."""
    found: list[Candidate] = []
    against: tuple[str, ...] = ()
    if explanation is not None:
        estimate = explanation.estimate
        found = candidates(log, estimate.memory, estimate.spec.model) if estimate.memory else []
        against = tuple(contradictions(log, explanation, found))
    guesses = () if explanation else tuple(logits(log))[:_GUESSES]
    return Diagnosis(log, explanation, tuple(found), guesses, tuple(findings(log)), against)


def target_of_log(message: Message) -> Target | None:
    """Return the card that the message is from: its capacity, less what it says that others hold."""
    if message.capacity is None or message.backend not in {"cuda", "hip"} or message.capacity.bytes <= 0:
        return None
    total = round(message.capacity.bytes)
    device = DeviceSpec(type="cuda", total_bytes=total, in_use_bytes=min(total, round(message.others)))
    cards = tuple(gpu for gpu in gpus() if gpu.total_bytes and abs(gpu.total_bytes / total - 1) < _SAME_CARD)
    found = cards if message.backend == "cuda" else ()
    return Target(device, found, notes=("the card is the log's: its capacity, less what others held",))
