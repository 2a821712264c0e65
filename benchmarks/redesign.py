"""An older fwplan beside this one on the same drawn specs: memory, parameters, FLOPs and time, and how long each asks.

    python benchmarks/redesign.py OLD/.venv/bin/python [-o results.json]

OLD is a checkout of an older commit with a virtual environment of its own. Both are asked in turns, in documents of
schema version 1, so that neither has an idle machine for itself. What differs is printed; nothing is judged here: which
of the two is right is what closed_form.py and accuracy.py hold against traces and real steps.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from drawn import SEED

CARD = "RTX 4070"
ROUNDS = 3
# Runs in either fwplan: public names alone, which both have.
ASK = f"""
import json, sys, time
from fwplan import estimate
from fwplan.spec import parse_spec
from fwplan.estimators.memory import estimate_memory
documents = json.load(sys.stdin)
specs = [parse_spec(document, "drawn") for document in documents]
rows, seconds = [], []
for spec in specs:
    found = estimate(spec, {CARD!r}, measurements=())
    memory = estimate_memory(spec)
    took = []
    for _ in range(5):
        start = time.perf_counter()
        estimate_memory(spec)
        took.append(time.perf_counter() - start)
    seconds.append(min(took))
    rows.append([memory.step_bytes, memory.evaluation_bytes, *memory.allocated_interval, found.parameters.total,
                 found.flops.per_step, list(found.step_seconds)])
json.dump({{"rows": rows, "seconds": seconds}}, sys.stdout)
"""
# The older one draws, and writes the documents in its own schema, which the newer one reads too.
DRAW = """
import json, sys
sys.path.insert(0, "benchmarks")
from drawn import traced_specs
json.dump([spec.model_dump(mode="json", exclude_none=True) for spec in traced_specs({count}, {seed})], sys.stdout)
"""
WHAT = ("step_bytes", "evaluation_bytes", "least_bytes", "most_bytes", "parameters", "flops_per_step", "step_seconds")


def run(python: Path, code: str, said: object = None) -> Any:
    """Return what code says on stdout, run by a checkout's python in the checkout."""
    done = subprocess.run(
        [python, "-c", code], input=json.dumps(said), capture_output=True, text=True, check=False, cwd=python.parents[2]
    )
    if done.returncode:
        raise SystemExit(f"{python}: {done.stderr.strip().splitlines()[-1]}")
    return json.loads(done.stdout)


def documents_of(old: Path, count: int, seed: int) -> list[dict[str, Any]]:
    """Return count specs as documents of schema version 1: each drawn one eager, then compiled."""
    eager: list[dict[str, Any]] = run(old, DRAW.format(count=count // 2, seed=seed))
    return eager + [{**document, "train": {**document["train"], "compile": True}} for document in eager]


def differences(old: list[Any], new: list[Any]) -> list[float]:
    """Return the relative differences of a figure that both know, largest last."""
    both = [(a, b) for a, b in zip(old, new, strict=True) if a is not None and b is not None]
    return sorted(abs(b / a - 1) if a else float(b != a) for a, b in both)


def main() -> None:
    """Ask both in turns, print how far they differ, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", help="the older checkout's python")
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    trees = {"old": Path(options.old).absolute(), "new": Path(sys.executable).absolute()}
    documents = documents_of(trees["old"], options.count, options.seed)
    times: dict[str, list[list[float]]] = {"old": [], "new": []}
    found: dict[str, list[Any]] = {}
    for _ in range(ROUNDS):
        for name, python in trees.items():
            said = run(python, ASK, documents)
            found[name] = said["rows"]
            times[name].append(said["seconds"])
    half = len(documents) // 2
    result: dict[str, Any] = {"count": len(documents), "seed": options.seed}
    for mode, places in (("eager", slice(half)), ("compiled", slice(half, None))):
        for column, what in enumerate(WHAT[:-1]):
            off = differences(*([row[column] for row in found[name][places]] for name in ("old", "new")))
            result[f"{mode} {what}"] = _figures(off)
        off = sorted(
            max(abs(b / a - 1) for a, b in zip(old[-1], new[-1], strict=True))
            for old, new in zip(found["old"][places], found["new"][places], strict=True)
        )
        result[f"{mode} step_seconds"] = _figures(off)
        for name in ("old", "new"):
            best = [min(run[i] for run in times[name]) for i in range(*places.indices(len(documents)))]
            result[f"{mode} {name} microseconds"] = round(1e6 * statistics.median(best), 1)
    for what, value in result.items():
        print(f"{what:28} {value}")
    if options.output:
        options.output.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def _figures(off: list[float]) -> dict[str, float]:
    if not off:
        return {}
    return {"median": statistics.median(off), "p99": off[int(0.99 * len(off))], "worst": off[-1]}


if __name__ == "__main__":
    main()
