"""Memory that ran out where no device's did: what a log says then, in whose words, and what helps."""

from __future__ import annotations

import re
from typing import NamedTuple


class Elsewhere(NamedTuple):
    """What ran out, to be said after the log's name, and what to do."""

    said: re.Pattern[str]
    what: str
    hint: str


_WORKERS = "fewer DataLoader workers, data read by memory map, or more memory for the machine, container or job"
_ALL = (
    Elsewhere(
        re.compile(r"out of resource: shared memory|raise OutOfResources\("),
        "a Triton kernel asked for more shared memory on the chip than it has, which is no part of the card's memory",
        "smaller blocks or fewer num_stages in that kernel, or another version of torch and Triton",
    ),
    Elsewhere(
        re.compile(
            r"insufficient shared memory \(shm\)|killed by signal: Bus error|unable to allocate shared memory"
            r"|unable to write to file </torch_"
        ),
        "DataLoader's workers filled /dev/shm, which is no part of the card's memory",
        "docker run --shm-size=8g, or num_workers=0",
    ),
    Elsewhere(
        re.compile(
            r"\[Errno 12\] Cannot allocate memory|Cannot allocate memory \(12\)|\b(?:_Array)?MemoryError\b"
            r"|std::bad_alloc|(?i:oom[-_ ]?kill)"
        ),
        "the machine's own memory ran out, not a GPU's",
        _WORKERS,
    ),
    Elsewhere(
        re.compile(r"exitcode: -9\b|\bSIGKILL\b|killed by signal: Killed|^Killed$|: +\d+ Killed\b", re.MULTILINE),
        "a process was killed from outside, as Linux does when the machine's own memory runs out",
        _WORKERS,
    ),
)


def elsewhere(text: str) -> Elsewhere | None:
    """Return what ran out by this log, the plainest first; None: nothing did that is known."""
    return next((one for one in _ALL if one.said.search(text)), None)
