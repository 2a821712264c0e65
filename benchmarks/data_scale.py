"""What does not grow with the data: the time of `count` and the memory of `prepare`.

    python benchmarks/data_scale.py

A FineWeb-shaped file of a million rows (3 GB of text, row groups of 1,000) is counted five times in one process, after
imports and one call that is not counted. Then `prepare` runs with two workers over files of growing size, as row groups
of 1,000, as one row group, and with a document of 50 MB; its memory is the sum of the resident sets of all its
processes, read every 20 ms, so what they share (libraries) is counted once for each. Needs Linux's /proc.
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from report import table, write_result
from texts import write_text

from fwplan.data.corpus import SCHEMA
from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import encode

ROWS = 1_000_000
SIZES_MB = (25, 100, 400)
PREPARE = "import sys; from fwplan.data.prepare import prepare\n"
PREPARE += "if __name__ == '__main__': prepare(sys.argv[1], sys.argv[2], workers=2, fast=sys.argv[3] == 'fast')"


def documents(folder: Path) -> list[str]:
    """Return some thousands of documents of about 3 kB."""
    path = folder / "seed.parquet"
    write_text(path, 25_000_000)
    texts: list[str] = pq.read_table(path, columns=["text"]).column(0).to_pylist()
    return texts


def write_million(path: Path, texts: list[str]) -> None:
    """Write a million rows in FineWeb's schema, token_count included, from documents used again and again."""
    counts, rng = [len(encode(text)) for text in texts], random.Random(0)
    with pq.ParquetWriter(path, SCHEMA, compression="snappy") as out:
        for group in range(ROWS // 1000):
            chosen = rng.sample(range(len(texts)), 1000)
            rows = [
                {
                    "text": texts[i],
                    "id": f"<urn:uuid:{group:08d}-{n:04d}>",
                    "dump": "CC-MAIN-2013-20",
                    "url": f"http://example.org/{group}/{n}",
                    "date": "2013-05-18T05:48:54Z",
                    "file_path": "s3://commoncrawl/crawl-data/CC-MAIN-2013-20/segments/x.warc.gz",
                    "language": "en",
                    "language_score": 0.9 + n / 1e4,
                    "token_count": counts[i],
                }
                for n, i in enumerate(chosen)
            ]
            out.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), row_group_size=1000)


def write_size(path: Path, texts: list[str], size: int, group_rows: int, *, giant: bool = False) -> None:
    """Write about `size` bytes of text; `giant` puts one document of 50 MB in the middle."""
    rows, total, rng = list[str](), 0, random.Random(1)
    while total < size:
        rows.append(rng.choice(texts) + f" {len(rows)}")
        total += len(rows[-1])
    if giant:
        rows[len(rows) // 2] = " ".join(rng.choices(texts, k=50_000_000 // 3000))[:50_000_000]
    pq.write_table(pa.table({"text": rows}), path, row_group_size=group_rows, compression="snappy")


def peak_of(source: Path, out: Path, how: str) -> tuple[int, float]:
    """Return (most resident bytes of prepare and its workers together, seconds)."""
    shutil.rmtree(out, ignore_errors=True)
    begin = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", PREPARE, str(source), str(out), how]) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, _resident(process.pid))
            time.sleep(0.02)
    if process.returncode:
        raise RuntimeError(f"prepare ended with {process.returncode}")
    return peak, time.perf_counter() - begin


def _resident(pid: int) -> int:
    total = 0
    for one in _family(pid):
        try:
            total += int(Path(f"/proc/{one}/statm").read_text(encoding="ascii").split()[1]) * 4096
        except OSError:  # it has just ended
            continue
    return total


def _family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return [pid]
    return [pid, *(other for child in children for other in _family(int(child)))]


def timed_count(path: Path) -> dict[str, Any]:
    """Return how long counting takes once everything is imported."""
    count_tokens(path)
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        found = count_tokens(path)
        seconds.append(time.perf_counter() - begin)
    return {
        "rows": found.rows,
        "file_bytes": found.file_bytes,
        "tokens": found.tokens,
        "tier": found.tier,
        "checked": found.checked,
        "seconds": round(median(seconds), 3),
        "range": [round(min(seconds), 3), round(max(seconds), 3)],
    }


def main() -> None:
    """Measure, print, and write the result file."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])
    ways = ["tiktoken"]
    if subprocess.run([sys.executable, "-c", "import gigatoken"], capture_output=True, check=False).returncode == 0:
        ways.append("fast")
    memory = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = documents(folder)
        write_million(folder / "million.parquet", texts)
        counted = timed_count(folder / "million.parquet")
        print(counted)
        (folder / "million.parquet").unlink()
        shapes = [(size, groups, False) for size in SIZES_MB for groups in (1000, 10**9)] + [(100, 1000, True)]
        for size, groups, giant in shapes:
            write_size(folder / "text.parquet", texts, size * 10**6, groups, giant=giant)
            for how in ways:
                peak, seconds = peak_of(folder / "text.parquet", folder / "out", how)
                memory.append(
                    {
                        "text_mb": size,
                        "row_groups": "one" if groups > 1000 else "of 1,000",
                        "document_of_50_mb": giant,
                        "with": how,
                        "peak_bytes": peak,
                        "seconds": round(seconds, 1),
                    }
                )
    cells = [
        (f"{m['text_mb']} MB, row groups {m['row_groups']}{', 50 MB document' * m['document_of_50_mb']}", m["with"],
         f"{m['peak_bytes'] / 1e6:.0f} MB", f"{m['seconds']:.1f}") for m in memory
    ]  # fmt: skip
    print(table(("text", "with", "peak, all processes", "seconds"), cells))
    print(f"\nwritten: {write_result('data-scale', {'count': counted, 'memory': memory}).name}")


if __name__ == "__main__":
    main()
