"""Small parquet files in FineWeb's shape, made by the tests themselves."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WORDS = ["the", "a", "model", "data", "token", "loss", "GPU", "memory", "of", "in", "trains", "café", "東京", "1024"]


@pytest.fixture
def make_texts() -> Callable[..., list[str]]:
    """Return a function that makes that many different texts."""

    def make(count: int, seed: int = 0) -> list[str]:
        rng = random.Random(seed)
        return [f"Document {n}: " + " ".join(rng.choices(WORDS, k=rng.randint(5, 60))) for n in range(count)]

    return make


@pytest.fixture
def texts(make_texts) -> list[str]:
    return make_texts(60)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes texts (and other columns) to a parquet file and returns its path."""

    def write_parquet(texts, name="data.parquet", group_rows=10, kind=None, **columns) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        table = pa.table({"text": pa.array(texts, kind or pa.string()), **columns})
        pq.write_table(table, path, row_group_size=group_rows, compression="snappy")
        return path

    return write_parquet


@pytest.fixture
def modules_after() -> Callable[[str], set[str]]:
    """Return a function that runs code in a fresh interpreter and returns the top-level modules it loaded."""

    def run(code: str) -> set[str]:
        report = "\nimport sys\nprint(*sorted({name.partition('.')[0] for name in sys.modules}))"
        done = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
        return set(done.stdout.split())

    return run
