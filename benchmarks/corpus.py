"""What `fwplan explain` says of real configs, beside what their own training scripts would do, written down by hand.

    python benchmarks/corpus.py DIR                  every half
    python benchmarks/corpus.py DIR --half dev       one of them
    python benchmarks/corpus.py DIR --as mended      written as ...-corpus-mended.json

The labels are DIR/*.jsonl, one file a half (dev.jsonl), or where DIR has none benchmarks/corpus.jsonl; the files lie
below DIR/<half>/, each at its label's `path` with its `neighbours` at their places in its repository. They are other
people's and not here: https://github.com/<repo>/blob/<commit>/<repo_path> has each (two came without an address), and
one whose SHA-256 is another is not judged.

A judgeable file is right where the five compared values are those of the truth (those that are null there are not
compared), and refused needlessly where there is no answer. Of a file that is not judgeable a refusal is honest; an
answer is wrong where a value is another or cannot be known. Where all five are as the truth it is told apart: what is
judged is then right, what makes the file no GPT-2 with AdamW is not in the five.

Two results are kept. ...-corpus.json is the first: its half heldout had not been looked at by whoever wrote what reads
configs, so it says how such files fare. ...-corpus-mended.json is of after its faults were mended: both halves are
known by then, and it says no more than that these files' faults are gone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from report import table, write_result

from fwplan import FwplanError, explain
from fwplan.errors import ExitCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fwplan.explaining.explanation import Explanation

LABELS = Path(__file__).with_suffix(".jsonl")
COMPARED = ("parameters", "micro_batch", "context", "dtype", "compile")
RIGHT, OPEN, HONEST = "right", "right, device unknown", "honestly refused"
BEYOND = "as the truth, not judgeable"
NEEDLESS, WRONG, CRASHED, ABSENT = "refused needlessly", "wrong", "crashed", "not there"
OUTCOMES = (RIGHT, OPEN, BEYOND, HONEST, NEEDLESS, WRONG, CRASHED, ABSENT)
_EXIT = {"does_not_fit": ExitCode.DOES_NOT_FIT, "undecidable": ExitCode.UNDECIDABLE}


@dataclass(frozen=True)
class Row:
    """What became of one file. exit is the command's; None: it crashed or was not judged."""

    id: str
    half: str
    kind: str
    path: str
    judgeable: bool
    outcome: str
    exit: int | None
    said: str  # what differs from the truth, or why there is no answer

    def as_dict(self) -> dict[str, Any]:
        """Return the row as the result file keeps it."""
        return asdict(self)


def labels(folder: Path, half: str | None = None) -> list[dict[str, Any]]:
    """Return the labels in the order of their files, each with its half."""
    found: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.jsonl")) or [LABELS]:
        lines = path.read_text(encoding="utf-8").splitlines()
        found += ({"half": path.stem} | json.loads(line) for line in lines if line.strip())
    return [label for label in found if half in (None, label["half"])]


def judge(label: dict[str, Any], folder: Path) -> Row:
    """Return what explain says of one file below folder, beside its label."""
    outcome, code, said = _judged(label["truth"], folder / label["half"] / label["path"], label["sha256"])
    said = " ".join(said.replace(f"{folder / label['half']}{os.sep}", "").split())
    named = {key: label[key] for key in ("id", "half", "kind", "path")}
    return Row(**named, judgeable=label["truth"]["judgeable"], outcome=outcome, exit=code, said=said)


def _judged(truth: dict[str, Any], path: Path, sha256: str) -> tuple[str, int | None, str]:
    if not path.is_file():
        return ABSENT, None, "no such file"
    if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
        return ABSENT, None, "its SHA-256 is another"
    try:
        found = explain(path)
    except FwplanError as error:
        return NEEDLESS if truth["judgeable"] else HONEST, int(error.exit_code), error.message
    except Exception as error:  # noqa: BLE001  # whatever it is, the command would have died of it
        return CRASHED, None, f"{type(error).__name__}: {error}"
    return _compared(truth, found)


def _compared(truth: dict[str, Any], found: Explanation) -> tuple[str, int, str]:
    code, answer = int(_EXIT.get(found.verdict, ExitCode.OK)), _answer(found)
    off = [f"{key} {answer[key]}, not {truth[key]}" for key in COMPARED if not _agrees(truth, key, answer[key])]
    if off:
        return WRONG, code, "; ".join(off)
    if not truth["judgeable"]:
        unknown = ", ".join(key for key in COMPARED if truth[key] is None)
        return (WRONG, code, f"a verdict, where it cannot be known: {unknown}") if unknown else (BEYOND, code, "")
    if code == ExitCode.UNDECIDABLE:
        return OPEN, code, found.estimate.undecidable or ""
    return RIGHT, code, ""


def _answer(found: Explanation) -> dict[str, Any]:
    model, train = found.estimate.spec.model, found.estimate.spec.train
    return {
        "parameters": found.estimate.parameters.total,
        "micro_batch": train.micro_batch_size,
        "context": train.sequence_length or model.context_length,
        "dtype": train.dtype,
        "compile": train.compile,
    }


def _agrees(truth: dict[str, Any], key: str, value: Any) -> bool:
    return truth[key] is None or value in (truth[key], *truth.get("also_right", {}).get(key, ()))


def counts(rows: Iterable[Row]) -> dict[str, int]:
    """Return how many files became what, and which of the wrong ones had an exit code that vouches for them."""
    rows = list(rows)
    found = Counter(row.outcome for row in rows)
    vouched = sum(row.outcome == WRONG and row.exit in (ExitCode.OK, ExitCode.DOES_NOT_FIT) for row in rows)
    return {"files": len(rows), **{outcome: found[outcome] for outcome in OUTCOMES}, "wrong with exit 0 or 3": vouched}


def grouped(rows: Iterable[Row], by: str) -> dict[str, dict[str, int]]:
    """Return the counts of each half or kind, and of all."""
    rows = list(rows)
    names = sorted({getattr(row, by) for row in rows})
    each = {name: counts(row for row in rows if getattr(row, by) == name) for name in names}
    return {**each, "all": counts(rows)}


def _print(rows: list[Row]) -> None:
    for by in ("half", "kind"):
        groups = grouped(rows, by)
        print(table([by, *groups["all"]], ([name, *map(str, group.values())] for name, group in groups.items())))
        print()
    for row in rows:
        if row.outcome not in (RIGHT, HONEST):
            print(f"{row.id}  {row.kind}  {row.outcome} (exit {row.exit})  {row.path}\n     {row.said}")


def main() -> None:
    """Judge, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--half", help="judge this half alone")
    parser.add_argument("--as", dest="name", help="a word for the result file's name, so that another stays")
    options = parser.parse_args()
    folder = options.folder.resolve()
    with tempfile.TemporaryDirectory() as home:
        os.environ["FWPLAN_HOME"] = home  # what this machine has measured is not in the files
        rows = [judge(label, folder) for label in labels(folder, options.half)]
    if not rows:
        parser.error(f"no labels of half {options.half!r}")
    _print(rows)
    body = {
        "labels": "benchmarks/corpus.jsonl",
        "halves": grouped(rows, "half"),
        "kinds": grouped(rows, "kind"),
        "rows": [row.as_dict() for row in rows],
    }
    what = "-".join(filter(None, ("corpus", options.half, options.name)))
    print(f"\nwritten: {write_result(what, body).name}")


if __name__ == "__main__":
    main()
