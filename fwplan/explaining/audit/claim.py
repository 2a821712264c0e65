"""One claim of a comment beside the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

Topic: TypeAlias = Literal[
    "parameters", "model", "tokens a step", "tokens", "tokens needed", "tokens a file", "batch", "epochs", "FLOPs",
    "FLOPs a token", "FLOPs a step", "run time", "step time", "memory", "tensor", "card", "loss", "accumulation",
    "compile", "dtype",
]  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """One claim of a comment.

    Attributes:
        line: of the file.
        topic: what it is about.
        claimed: the claim, as printed.
        truth: what is true, as printed.
        right: whether they agree.
    """

    line: int
    topic: Topic
    claimed: str
    truth: str
    right: bool

    def as_dict(self) -> dict[str, Any]:
        """Return the claim as `explain --json` prints it."""
        return {
            "line": self.line,
            "topic": self.topic,
            "claimed": self.claimed,
            "true": self.truth,
            "right": self.right,
        }
