"""What a training log says besides the message: the traceback's tensors and moment, and what the script printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from html import unescape
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from fwplan.errors import FwplanError
from fwplan.oom.message import Message, messages

if TYPE_CHECKING:
    from collections.abc import Callable

Moment: TypeAlias = Literal["set-up", "forward", "backward", "optimizer step", "evaluation"]
HEAD_BYTES, TAIL_BYTES = 512 * 1024, 4 * 1024 * 1024  # a log may be of any size: the settings are first, the error last
_MOST_MESSAGES = 64  # a cluster's ranks each print one
_TRACEBACK = 20_000  # characters before the message


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


ITEM_BYTES = {
    "float64": 8, "int64": 8, "float32": 4, "int32": 4, "bfloat16": 2, "float16": 2, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1,
}  # fmt: skip


@dataclass(frozen=True)
class Log:
    """A log as read.

    Attributes:
        path: the file.
        message: its first out-of-memory message; later ones often follow from it.
        count: how many messages it holds.
        strided: the tensor in the traceback's last line of inductor's code, if it has one.
        moment: the part of a step that the traceback is in.
        compiled: whether the traceback or the script says that the model was compiled; None: neither does.
        printed: what the script itself said of the run, by the name it is compared under.
    """

    path: Path
    message: Message
    count: int
    strided: Strided | None
    moment: Moment | None
    compiled: bool | None
    printed: dict[str, float]


def read_log(path: str | Path) -> Log:
    """Return what a training log says of its out-of-memory error.

    Raises:
        FwplanError: it cannot be read, or holds no such error.
    """
    path = Path(path)
    text = _clean(_text(path))
    found = list(islice(messages(text), _MOST_MESSAGES))
    if not found:
        raise FwplanError(
            f"no out-of-memory message in {str(path)!r}",
            hint="the log must hold the line that starts with torch.OutOfMemoryError or RuntimeError",
        )
    first = next((message for message in found if message.requested), found[0])
    trace = text[max(0, first.start - _TRACEBACK) : first.start]
    opened = trace.rfind("Traceback (most recent call last)")
    trace = trace[max(0, opened) :]
    strided = _strided(trace)
    return Log(
        path=path,
        message=first,
        count=len(found),
        strided=strided,
        moment=_moment(trace) if opened >= 0 else None,
        compiled=_compiled(text[: first.start], trace, strided),
        printed={name: value for name, read in _PRINTED.items() if (value := read(text)) is not None},
    )


def _text(path: Path) -> str:
    """Return a log's beginning and end."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if size <= HEAD_BYTES + TAIL_BYTES:
                raw = file.read()
            else:
                raw = file.read(HEAD_BYTES) + b"\n"
                file.seek(size - TAIL_BYTES)
                raw += file.read()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise FwplanError(
            f"cannot read {str(path)!r}: {reason}", hint="name the training log: --log train.log"
        ) from None
    encoding = "utf-16" if raw[:2] in {b"\xff\xfe", b"\xfe\xff"} else "utf-8"  # PowerShell's > writes UTF-16
    return raw.decode(encoding, errors="replace")


_PREFIX = re.compile(r"^(?:\[?(?:default)?\[?(?:rank)?\d+\]?:\s?|\x1b\[[0-9;]*m)+|\x1b\[[0-9;]*m", re.MULTILINE)


_MARKUP = re.compile(r"</?(?:span|pre|div|code|b|p|br)\b[^<>]{0,200}>")  # of a notebook that was saved as a page


def _clean(text: str) -> str:
    """Return a log without colours, a page's markup and torchrun's "[rank0]: " before each line."""
    if _MARKUP.search(text):
        text = unescape(_MARKUP.sub("", text))
    return _PREFIX.sub("", text.replace("\r", "\n"))


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


def _compiled(before: str, trace: str, strided: Strided | None) -> bool | None:
    if strided is not None or re.search(r"torch/_(?:dynamo|inductor|functorch)|torchinductor_|CompiledFunction", trace):
        return True
    return True if "compiling the model..." in before else None


def _number(pattern: str, scale: float = 1.0) -> Callable[[str], float | None]:
    compiled = re.compile(pattern)

    def read(text: str) -> float | None:
        match = compiled.search(text)
        return float(match[1].replace(",", "")) * scale if match else None

    return read


# What nanoGPT's and build-nanogpt's scripts print about themselves before the first step.
_PRINTED: dict[str, Callable[[str], float | None]] = {
    "tokens_per_step": _number(r"(?:tokens per iteration will be|total desired batch size): ([\d,]{1,20})"),
    "parameters_without_positions": _number(r"number of parameters: (\d{1,9}\.\d\d)M", 1e6),
    "vocab_size": _number(r"found vocab_size = (\d{1,9})"),
    "micro_batch_size": _number(r"(?:Overriding: batch_size =|Instantaneous batch size per device =) (\d{1,9})"),
    "context_length": _number(r"Overriding: block_size = (\d{1,9})"),
}
