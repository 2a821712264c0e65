"""Peaks that other people measured on real GPUs (benchmarks/published.jsonl, each with its source)."""

import json
from pathlib import Path

import pytest

from fwplan.estimators.memory import estimate_memory
from fwplan.spec import parse_spec
from fwplan.units import MIB

ROWS = [json.loads(line) for line in Path("benchmarks/published.jsonl").read_text(encoding="utf-8").splitlines()]
# 4,371 MiB where the same author's RTX 3090 took 3,285 for the same configuration: unexplained at the source.
UNEXPLAINED = {"gollem-124M-H100-b1-0_baseline"}


def _predicted(row):
    memory = estimate_memory(parse_spec(row["spec"], row["id"]))
    return memory, memory.allocated_bytes + row["extra_bytes"]


@pytest.mark.parametrize("row", [r for r in ROWS if r["id"] not in UNEXPLAINED], ids=lambda row: row["id"])
def test_a_published_peak(row):
    _, predicted = _predicted(row)
    measured = row["peak_allocated_mib"] * MIB
    one = row["spec"]["train"]["micro_batch_size"] == 1
    assert predicted == pytest.approx(measured, rel=0.055 if one else 0.04)


@pytest.mark.parametrize("row", [r for r in ROWS if r["id"] not in UNEXPLAINED], ids=lambda row: row["id"])
def test_the_interval_holds_what_was_measured(row):
    memory, _ = _predicted(row)
    low, high = memory.allocated_interval
    assert low <= row["peak_allocated_mib"] * MIB - row["extra_bytes"] <= high


def test_all_rows_are_there():
    assert len(ROWS) == 34
    assert {row["id"] for row in ROWS} >= UNEXPLAINED
