"""Twenty SIGKILLs at random moments of one preparation, which then must be what an uninterrupted one writes.

    python benchmarks/data_kills.py [--text FILE.parquet] [--kills 20]

Every attempt has another number of workers, from one to three, and another way to tokenize where gigatoken is there.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from report import write_result
from texts import write_text

ATTEMPT = """
import sys
from fwplan.data import prepare, staging
if __name__ == "__main__":
    staging.COMMIT_SECONDS = 0.1
    prepare.prepare(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), fast=sys.argv[4] == "fast", format="llmc",
                    shard_tokens=1_000_000, val_fraction=0.05, dedup=True,
                    note=lambda said: print(said, flush=True))
"""


def attempt(source: Path, out: Path, workers: int, how: str, seconds: float | None) -> tuple[int, str, float]:
    """Return (exit code, what was said, seconds), killed after so many seconds unless it ended before."""
    command = [sys.executable, str(out.parent / "attempt.py"), str(source), str(out), str(workers), how]
    begin = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            said, _ = process.communicate()
    return process.returncode, said, time.perf_counter() - begin


def contents(folder: Path) -> dict[str, bytes]:
    """Return a folder's files with their bytes."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def main() -> None:
    """Kill, compare, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--kills", type=int, default=20)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    rng, kills, resumed, rounds = random.Random(0), 0, 0, 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "attempt.py").write_text(ATTEMPT, encoding="utf-8")
        source = options.text or folder / "text.parquet"
        if options.text is None:
            write_text(source, 30_000_000)
        (folder / "clean").mkdir()
        (folder / "clean" / "attempt.py").write_text(ATTEMPT, encoding="utf-8")
        _, _, whole = attempt(source, folder / "clean" / "set", 2, "tiktoken", None)
        expected = contents(folder / "clean" / "set")
        while kills < options.kills:
            out = folder / f"round{rounds}" / "set"
            out.parent.mkdir(exist_ok=True)
            (out.parent / "attempt.py").write_text(ATTEMPT, encoding="utf-8")
            limit = rng.uniform(0.3, 1.0) * whole if kills < options.kills else None
            code, said, _ = attempt(source, out, rng.randint(1, 3), rng.choice(["tiktoken", "fast"]), limit)
            resumed += "going on" in said
            kills += code == -signal.SIGKILL
            if code == 0:
                assert contents(out) == expected, "the bytes differ"
                rounds += 1
        code, said, _ = attempt(source, out, 2, "tiktoken", None)
        assert code == 0
        assert contents(out) == expected, "the bytes differ"
    body = {"kills": kills, "resumed": resumed, "finished_sets": rounds + 1, "identical": True}
    print(body)
    print(f"\nwritten: {write_result('data-kills', body).name}")


if __name__ == "__main__":
    main()
