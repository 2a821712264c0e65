"""How long whole processes take: fwplan's two planning commands beside Python alone and Python with torch.

    python benchmarks/startup.py

Wall time, CPU time (user and system, all threads) and peak resident memory of each process, from its start to its
end. The commands take turns, so that a busy moment meets all of them; medians over the rounds, after one that is not
counted. One of the commands has a hundred past runs of its card to learn from. Where valgrind is installed, also the
instructions of each, counted once by callgrind: those do not depend on how busy the machine is.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

from drawn import SEED, realistic_specs
from report import table, write_result

from fwplan.estimation.estimate import estimate
from fwplan.estimators.speed import middle
from fwplan.learning.measurement import Measurement
from fwplan.machine.target import named_gpu

ROUNDS, RUNS = 9, 100
CARD = named_gpu("RTX 4070")
PASS, TORCH = "python -c pass", 'python -c "import torch"'
_MIB = 2**20

# The processes are started by this one, which is smaller than any of them: a child's peak resident memory counts what
# it shared with its parent before exec. It reads commands as a JSON list and answers each with one line.
_LAUNCHER = """
import json, os, sys, time
null = os.open(os.devnull, os.O_RDWR)
files = [(os.POSIX_SPAWN_DUP2, null, stream) for stream in (0, 1)]
for command in json.loads(sys.argv[1]):
    begin = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=files)
    _, status, used = os.wait4(pid, 0)
    wall = time.perf_counter() - begin
    peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)  # Linux counts KiB
    print(json.dumps([os.waitstatus_to_exitcode(status), wall, used.ru_utime + used.ru_stime, peak]), flush=True)
"""


def commands(folder: Path) -> dict[str, list[str]]:
    """Return what is timed, by the name it is printed with; plans go to folder."""
    plan = str(folder / "plan.json")
    fwplan = str(Path(sys.executable).with_name("fwplan"))
    suggest = [fwplan, "suggest", "--gpu", "4070", "--tokens", "10e9", "-o", plan]
    return {
        PASS: [sys.executable, "-c", "pass"],
        TORCH: [sys.executable, "-c", "import torch"],
        "fwplan suggest": suggest,
        "fwplan explain": [fwplan, "explain", plan],
        f"fwplan suggest, {RUNS} past runs": ["/usr/bin/env", f"FWPLAN_HOME={folder / 'runs'}", *suggest],
    }


def write_past_runs(home: Path) -> None:
    """Fill a store with what drawn runs might have measured on the card that is planned for."""
    draw = random.Random(SEED)
    home.mkdir()
    lines = []
    for spec in realistic_specs(RUNS):
        alone = estimate(spec, CARD, measurements=[])
        peak, seconds = alone.memory.step_bytes, middle(alone.step_seconds) * draw.uniform(0.8, 1.5)
        measured = Measurement(
            spec=spec, device_type="cuda", device_name=CARD.label, torch_version="2.13.0", fwplan_version="0",
            measured_at="2026-01-01T00:00:00+00:00", predicted_allocated_bytes=peak,
            peak_allocated_bytes=round(peak * draw.uniform(0.97, 1.05)), peak_reserved_bytes=round(1.1 * peak),
            device_used_bytes=round(1.2 * peak), step_seconds=seconds,
            tokens_per_second=spec.tokens_per_step / seconds, timed_steps=5,
        )  # fmt: skip
        lines.append(measured.model_dump_json() + "\n")
    (home / "measurements.jsonl").write_text("".join(lines), encoding="utf-8")


def run_rounds(timed: dict[str, list[str]], home: Path) -> dict[str, list[tuple[float, float, int]]]:
    """Return (wall seconds, CPU seconds, peak resident bytes) of each round of each command.

    Raises:
        RuntimeError: a command failed.
    """
    queue = [command for _ in range(ROUNDS + 1) for command in timed.values()]
    launcher = subprocess.run(
        [sys.executable, "-I", "-S", "-c", _LAUNCHER, json.dumps(queue)],
        env=os.environ | {"FWPLAN_HOME": str(home)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    taken: dict[str, list[tuple[float, float, int]]] = {name: [] for name in timed}
    for i, line in enumerate(launcher.stdout.splitlines()):
        name = list(timed)[i % len(timed)]
        code, wall, cpu, peak = json.loads(line)
        if code != 0:
            raise RuntimeError(f"{' '.join(timed[name])} ended with exit code {code}")
        if i >= len(timed):
            taken[name].append((wall, cpu, peak))
    return taken


def instructions(command: list[str], home: Path) -> int | None:
    """Return the instructions that a process takes, by callgrind; None where valgrind is not installed."""
    if shutil.which("valgrind") is None:
        return None
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *command],
        env=os.environ | {"FWPLAN_HOME": str(home), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        check=True,
        text=True,
    )
    counted = re.search(r"Collected : (\d+)", done.stderr)
    return int(counted[1]) if counted else None


def main() -> None:
    """Measure, print, and write the result file."""
    with tempfile.TemporaryDirectory() as folder:
        timed, home = commands(Path(folder)), Path(folder) / "home"
        write_past_runs(Path(folder) / "runs")
        taken = run_rounds(timed, home)
        counts = {name: instructions(command, home) for name, command in timed.items() if "torch" not in name}
    rows: list[dict[str, Any]] = []
    for name, rounds in taken.items():
        walls, cpus, peaks = zip(*rounds, strict=True)
        rows.append(
            {
                "command": name,
                "wall_seconds": round(median(walls), 4),
                "wall_range": [round(min(walls), 4), round(max(walls), 4)],
                "cpu_seconds": round(median(cpus), 4),
                "peak_rss_bytes": int(median(peaks)),
                "instructions": counts.get(name),
            }
        )
    for row in rows:
        for name, key in ((PASS, "of_python"), (TORCH, "of_import_torch")):
            other = next(r for r in rows if r["command"] == name)
            row[key] = round(row["wall_seconds"] / other["wall_seconds"], 3)
    cells = [
        (
            row["command"],
            f"{row['wall_seconds'] * 1e3:.0f} ms",
            f"{row['wall_range'][0] * 1e3:.0f}-{row['wall_range'][1] * 1e3:.0f}",
            f"{row['cpu_seconds'] * 1e3:.0f} ms",
            f"{row['peak_rss_bytes'] / _MIB:.0f} MiB",
            f"{row['of_python']:.1f}",
            f"{row['of_import_torch']:.2f}",
            f"{row['instructions'] / 1e9:.2f} G" if row["instructions"] else "",
        )
        for row in rows
    ]
    print(table(("process", "wall", "range, ms", "CPU", "peak RSS", "x python", "x torch", "instructions"), cells))
    print(f"\nwritten: {write_result('startup', {'rounds': ROUNDS, 'rows': rows}).name}")


if __name__ == "__main__":
    main()
