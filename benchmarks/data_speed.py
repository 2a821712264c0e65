"""How fast parquet becomes tokens: `prepare` beside a plain pool that works document by document.

    python benchmarks/data_speed.py [--text FILE.parquet | --languages] [--megabytes 150] [--pairs 5]

Both read the same file on the same processors and write the same tokens as .npy shards, in fresh processes that take
turns; wall time and CPU time (of all processes, start-up included) are compared pair by pair, and the median of the
ratios counts. The plain pool does what build-nanogpt's fineweb.py does: the parent reads rows, each document is a task
(in chunks of 16), a worker returns an array of its own per document from encode_ordinary, with the encoding as tiktoken
ships it. With gigatoken installed (fwplan[fast]) a third program runs in each round. Without --text the text is this
machine's documentation and source code, in documents of FineWeb's length; with --languages it is what the message
catalogues on this machine say in every language that they have.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
from report import table, write_result
from texts import write_text

WORKERS = 2
PLAIN = """
import multiprocessing, os, sys
import numpy as np, pyarrow.parquet as pq, tiktoken
from tiktoken_ext.openai_public import r50k_pat_str

def start():
    global encoding, end
    from fwplan.data.gpt2 import ranks  # what get_encoding("gpt2") would download
    encoding = tiktoken.Encoding("gpt2", pat_str=r50k_pat_str, mergeable_ranks=ranks(),
                                 special_tokens={"<|endoftext|>": 50256})
    end = encoding.eot_token

def tokenize(text):
    tokens = [end]
    tokens.extend(encoding.encode_ordinary(text))
    array = np.array(tokens)
    assert (0 <= array).all() and (array < 2**16).all()
    return array.astype(np.uint16)

def rows(path):
    file = pq.ParquetFile(path)
    for batch in file.iter_batches(columns=["text"]):
        yield from batch.column(0).to_pylist()

if __name__ == "__main__":
    source, out, workers = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.makedirs(out)
    shard, used, index = np.empty(10**8, np.uint16), 0, 0
    with multiprocessing.Pool(workers, start) as pool:
        for tokens in pool.imap(tokenize, rows(source), chunksize=16):
            room = len(shard) - used
            shard[used:used + len(tokens)] = tokens[:room]
            used += min(len(tokens), room)
            if len(tokens) >= room:
                np.save(f"{out}/plain_train_{index:06d}.npy", shard)
                index, used = index + 1, len(tokens) - room
                shard[:used] = tokens[room:]
    if used:
        np.save(f"{out}/plain_train_{index:06d}.npy", shard[:used])
"""
PREPARE = """
import sys
from fwplan.data.prepare import prepare
if __name__ == "__main__":
    prepare(sys.argv[1], sys.argv[2], workers=int(sys.argv[3]), format="npy", val_fraction=0, fast={fast})
"""


def timed(script: Path, source: Path, out: Path) -> tuple[float, float]:
    """Return (wall seconds, CPU seconds) of one program from its start to its end."""
    shutil.rmtree(out, ignore_errors=True)
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, str(script), str(source), str(out), str(WORKERS)], check=True)
    wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def tokens_in(folder: Path) -> bytes:
    """Return a folder's tokens, of all its shards, as bytes."""
    import numpy as np  # noqa: PLC0415

    return b"".join(np.load(path).tobytes() for path in sorted(folder.glob("*_train_*.npy")))


def has_gigatoken() -> bool:
    """Return whether fwplan[fast] is installed."""
    from importlib.util import find_spec  # noqa: PLC0415

    return find_spec("gigatoken") is not None


def main() -> None:
    """Measure, print, and write the result file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--languages", action="store_true")
    parser.add_argument("--megabytes", type=int, default=150, help="of text, at most")
    parser.add_argument("--pairs", type=int, default=5)
    options = parser.parse_args()
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = options.text or _own_text(folder, options.megabytes, languages=options.languages)
        programs = {"plain pool": PLAIN, "prepare": PREPARE.format(fast=False)}
        if has_gigatoken():
            programs["prepare, gigatoken"] = PREPARE.format(fast=True)
        scripts = {}
        for number, (what, text) in enumerate(programs.items()):
            scripts[what] = folder / f"program{number}.py"
            scripts[what].write_text(text, encoding="utf-8")
        runs: dict[str, list[tuple[float, float]]] = {what: [] for what in scripts}
        outs = {what: folder / f"out{n}" for n, what in enumerate(scripts)}
        for _ in range(options.pairs):
            for what, script in scripts.items():
                runs[what].append(timed(script, source, outs[what]))
        text_bytes = int(pc.sum(pc.binary_length(pq.read_table(source, columns=["text"]).column(0))).as_py())
        results = {what: tokens_in(out) for what, out in outs.items()}
    assert len(set(results.values())) == 1, "the tokens differ"
    tokens = len(results["plain pool"]) // 2
    rows = [_row(what, runs[what], runs["plain pool"], tokens) for what in runs]
    header = ("program", "Mtokens/s", "CPU s", "x faster", "range", "x less CPU", "range")
    cells = [
        (r["program"], f"{r['tokens_per_second'] / 1e6:.2f}", f"{r['cpu_seconds']:.1f}", f"{r['faster']:.2f}",
         "{}-{}".format(*r["faster_range"]), f"{r['less_cpu']:.2f}", "{}-{}".format(*r["less_cpu_range"]))
        for r in rows
    ]  # fmt: skip
    print(table(header, cells))
    kind = (
        options.text.name if options.text else "message catalogues" if options.languages else "documentation and code"
    )
    body = {
        "text": kind,
        "text_bytes": text_bytes,
        "tokens": tokens,
        "workers": WORKERS,
        "pairs": options.pairs,
        "rows": rows,
    }
    print(f"\nwritten: {write_result('data-speed-languages' if options.languages else 'data-speed', body).name}")


def _row(what: str, runs: list[tuple[float, float]], plain: list[tuple[float, float]], tokens: int) -> dict[str, Any]:
    faster = sorted(theirs[0] / ours[0] for ours, theirs in zip(runs, plain, strict=True))
    less = sorted(theirs[1] / ours[1] for ours, theirs in zip(runs, plain, strict=True))
    return {
        "program": what,
        "wall_seconds": round(median(wall for wall, _ in runs), 2),
        "cpu_seconds": round(median(cpu for _, cpu in runs), 2),
        "tokens_per_second": round(tokens / median(wall for wall, _ in runs)),
        "faster": round(median(faster), 2),
        "faster_range": [round(faster[0], 2), round(faster[-1], 2)],
        "less_cpu": round(median(less), 2),
        "less_cpu_range": [round(less[0], 2), round(less[-1], 2)],
    }


def _own_text(folder: Path, megabytes: int, *, languages: bool) -> Path:
    path = folder / "text.parquet"
    write_text(path, megabytes * 1_000_000, languages=languages)
    return path


if __name__ == "__main__":
    main()
