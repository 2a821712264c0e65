"""What the traceback before a message shows: the part of the step, and the tensor that inductor's code was making."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

Moment: TypeAlias = Literal["set-up", "forward", "backward", "optimizer step", "evaluation"]
_LONGEST = 20_000  # characters before the message
_OPENED = "Traceback (most recent call last)"
_FRAME = re.compile(r'File ".{1,300}", line \d+, in ')
ITEM_BYTES = {
    "float64": 8, "int64": 8, "float32": 4, "int32": 4, "bfloat16": 2, "float16": 2, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Strided:
    """A tensor that inductor's code was about to make: empty_strided_cuda((16, 1024, 50304), ..., torch.bfloat16)."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def bytes(self) -> int:
        """Its size."""
        size = ITEM_BYTES.get(self.dtype, 4)
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Traceback:
    """A traceback as read.

    Attributes:
        moment: the part of a step that it is in; None: it does not show.
        strided: the tensor in its last line of inductor's code, if it has one.
        compiled: whether it runs through torch.compile's code.
        foreach: whether it is in the foreach step of an optimizer, which makes temporary copies.
    """

    moment: Moment | None
    strided: Strided | None
    compiled: bool
    foreach: bool


def read_traceback(text: str, start: int) -> Traceback:
    """Return what the frames before a message show that starts there."""
    before = text[max(0, start - _LONGEST) : start]
    opened = before.rfind(_OPENED)
    trace = before[max(0, opened) :]
    framed = opened >= 0 or _FRAME.search(trace)  # who quotes a traceback may leave out its first line
    strided = _strided(trace)
    compiled = re.search(r"torch/_(?:dynamo|inductor|functorch)|torchinductor_|CompiledFunction", trace)
    return Traceback(
        moment=_moment(trace) if framed else None,
        strided=strided,
        compiled=strided is not None or compiled is not None,
        foreach=re.search(r"\b_multi_tensor_\w", trace) is not None,
    )


_STRIDED = re.compile(
    r"empty_strided(?:_\w+)?\(\(([\d, ]+)\),\s*\([\d, ]*\),\s*"
    r"(?:device=(?:'?\w+(?::\d+)?'?|device\([^()]{0,60}\)),\s*dtype=)?torch\.(\w+)"
)


def _strided(trace: str) -> Strided | None:
    """Return the last tensor that the traceback quotes from inductor's code."""
    found = _STRIDED.findall(trace)
    if not found:
        return None
    shape, dtype = found[-1]
    return Strided(tuple(int(length) for length in shape.split(",") if length.strip()), dtype)


# By what the frames show; the first that is found decides. Frames of the script come before those of torch.
_MOMENTS: tuple[tuple[Moment, str], ...] = (
    ("backward", r"\.backward\(|_engine_run_backward|run_backward\("),
    ("optimizer step", r"(?:optimizer|scaler)\.step\(|_(?:multi_tensor|fused|single_tensor)_(?:adam|sgd)|init_state\("),
    ("evaluation", r"estimate_loss\(|evaluate\(|eval_loop|in validate\b"),
    ("set-up", r"model\.to\(|model\.cuda\(|\.from_pretrained\(|DistributedDataParallel\(|DDP\("),
    ("forward", r"in forward\b|cross_entropy|= model\(|F\.\w+\("),
)  # fmt: skip


def _moment(trace: str) -> Moment | None:
    return next((moment for moment, pattern in _MOMENTS if re.search(pattern, trace)), None)
