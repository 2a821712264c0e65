"""What fwplan reads in other people's out-of-memory logs, beside what a person read in them first.

    python benchmarks/corpus_logs.py DIR

DIR holds .jsonl files of the form of corpus_logs.jsonl with the logs themselves as "text"; the truth was written before
fwplan was run. The repository keeps addresses, truths and the SHA-256 of the texts, which are other people's excerpts.
What a truth leaves out is not judged. others_gib: between which figures what other processes held must lie.
Right: every figure as written down, or a refusal that says what ran out where it was not the device's memory. Refused:
no answer where there is one. Wrong: any figure, device, moment or owner of memory that is not as written down.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fwplan
from fwplan.errors import FwplanError

if TYPE_CHECKING:
    from collections.abc import Iterator

UNITS = {"b": 1, "K": 2**10, "M": 2**20, "G": 2**30}
AMOUNTS = ("requested", "capacity", "free", "allocated", "reserved", "in_use", "allowed")
DEVICES = ("cuda", "hip", "xpu", "mps", "cpu")
# What ran out, where it was no device's memory, and how a refusal has to name it.
ELSEWHERE = {"host": "the machine's own memory", "shm": "/dev/shm", "kernel": "shared memory on the chip"}


def judged(row: dict[str, Any]) -> tuple[str, str]:
    """Return right, refused or wrong for one log, and why."""
    truth = row["truth"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.log"
        path.write_bytes(row["text"].encode(row.get("encoding", "utf-8")))
        try:
            found = fwplan.explain_log(path).as_dict()
        except FwplanError as error:
            return _refusal(truth["kind"], error.message)
    if truth["kind"] not in DEVICES:
        return "wrong", f"answered as {found['message']['backend']}"
    off = list(_differences(truth, found))
    return ("wrong", "; ".join(off)) if off else ("right", "")


def _refusal(kind: str, message: str) -> tuple[str, str]:
    if kind in DEVICES or (kind in ELSEWHERE and ELSEWHERE[kind] not in message):
        return "refused", message
    return "right", ""


def _differences(truth: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    message, said = found["message"], " ".join(found["findings"])
    if message["backend"] != truth["kind"]:
        yield f"device {message['backend']}, not {truth['kind']}"
    for name in AMOUNTS:
        if name in truth and not _same(message[f"{name}_bytes"], truth[name]):
            yield f"{name} {message[f'{name}_bytes']}, not {truth[name]}"
    for name, theirs in (("index", message["device_index"]), ("count", message["count"]), ("moment", found["moment"])):
        if name in truth and theirs != truth[name]:
            yield f"{name} {theirs}, not {truth[name]}"
    if truth.get("foreach") and "fused" not in said:
        yield "does not say that fused=True saves the copies of foreach"
    if truth["kind"] in {"mps", "cpu"} and "expandable" in said:
        yield "expandable segments on a device without them"
    low, high = truth.get("others_gib") or (0.0, float("inf"))
    others = float(match[1]) if (match := re.search(r"other processes held ([\d.]+) GiB", said)) else 0.0
    if not (low <= others <= high or (low <= 0.2 and others == 0)):  # 0.2: less is not worth a line
        yield f"others held {others} GiB, not {low} to {high}"


def _same(n_bytes: int | None, written: str | None) -> bool:
    if n_bytes is None or written is None:
        return n_bytes is None and written is None
    value, unit = written.split()
    return abs(n_bytes - float(value) * UNITS[unit[0]]) <= 0.006 * UNITS[unit[0]]


def main() -> None:
    """Print what is wrong or refused, and the counts."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    counts: Counter[tuple[str, str]] = Counter()
    for path in sorted(Path(sys.argv[1]).glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            if hashlib.sha256(row["text"].encode()).hexdigest() != row["sha256"]:
                raise SystemExit(f"{row['address']}: not the text that was written down")
            outcome, why = judged(row)
            counts[path.stem, outcome] += 1
            if outcome != "right":
                print(f"{outcome:8} {row['address'].removeprefix('https://github.com/')}: {why}")
    for (name, outcome), count in sorted(counts.items()):
        print(f"{name}: {outcome} {count}")


if __name__ == "__main__":
    main()
