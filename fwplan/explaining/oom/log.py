"""A training log as read: its first out-of-memory message, the traceback before it, and what the script printed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from fwplan.errors import FwplanError
from fwplan.explaining.oom.elsewhere import elsewhere
from fwplan.explaining.oom.forms import messages
from fwplan.explaining.oom.text import log_text, name_of
from fwplan.explaining.oom.traceback import Moment, Strided, read_traceback

if TYPE_CHECKING:
    from collections.abc import Callable

    from fwplan.explaining.oom.message import Message

_MOST_MESSAGES = 64  # a cluster's ranks each print one


@dataclass(frozen=True)
class Log:
    """A log as read.

    Attributes:
        path: the file; "-" is standard input.
        message: its first out-of-memory message with figures; later ones often follow from it.
        count: how many messages it holds.
        strided: the tensor in the traceback's last line of inductor's code, if it has one.
        moment: the part of a step that the traceback is in.
        compiled: whether the traceback or the script says that the model was compiled; None: neither does.
        foreach: whether the traceback is in the foreach step of an optimizer.
        printed: what the script itself said of the run, by the name it is compared under.
    """

    path: Path
    message: Message
    count: int
    strided: Strided | None
    moment: Moment | None
    compiled: bool | None
    foreach: bool
    printed: dict[str, float]


def read_log(path: str | Path) -> Log:
    """Return what a training log says of its out-of-memory error.

    Raises:
        FwplanError: it cannot be read, or holds no such error.
    """
    path = Path(path)
    text = log_text(path)
    found = list(islice(messages(text), _MOST_MESSAGES))
    if not found:
        raise _no_message(path, text)
    first = next((message for message in found if message.requested), found[0])
    trace = read_traceback(text, first.start)
    return Log(
        path=path,
        message=first,
        count=len(found),
        strided=trace.strided,
        moment=trace.moment,
        compiled=True if trace.compiled or "compiling the model..." in text[: first.start] else None,
        foreach=trace.foreach,
        printed={name: value for name, read in _PRINTED.items() if (value := read(text)) is not None},
    )


def _no_message(path: Path, text: str) -> FwplanError:
    instead = elsewhere(text)
    if instead is not None:
        return FwplanError(f"no GPU's out-of-memory message in {name_of(path)}: {instead.what}", hint=instead.hint)
    return FwplanError(
        f"no out-of-memory message in {name_of(path)}",
        hint="the log must hold the line that starts with torch.OutOfMemoryError or RuntimeError",
    )


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
