"""The judge of other people's logs, and the list of them that is kept without their texts."""

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))

from corpus_logs import DEVICES, ELSEWHERE, judged

LIST = Path("benchmarks/corpus_logs.jsonl").read_text(encoding="utf-8").splitlines()
TEXT = (
    "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 1; 15.90 GiB total capacity; 9.00 GiB already "
    "allocated; 20.00 MiB free; 10.00 GiB reserved in total by PyTorch)"
)
TRUTH = {"kind": "cuda", "requested": "2.00 GiB", "free": "20.00 MiB", "index": 1, "others_gib": [4.9, 5.9]}
CHIP = "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 98304, Hardware limit: 65536."


def _judged(text=TEXT, **truth):
    return judged({"text": text, "truth": TRUTH | truth})[0]


def test_what_is_read_as_written_down_is_right():
    assert _judged() == "right"
    assert _judged(CHIP, kind="kernel") == "right"
    assert _judged("iter 0: loss 4.18", kind="none") == "right"


@pytest.mark.parametrize(
    "off",
    [{"requested": "2.10 GiB"}, {"free": None}, {"index": 0}, {"kind": "hip"}, {"others_gib": [0, 0.1]},
     {"kind": "shm"}, {"moment": "backward"}, {"foreach": True}, {"reserved": "9.99 GiB"}, {"kind": "none"}],
)  # fmt: skip
def test_any_other_figure_is_wrong(off):
    assert _judged(**off) == "wrong"


def test_no_answer_is_refused():
    assert _judged("iter 0: loss 4.18") == "refused"
    assert _judged("iter 0: loss 4.18", kind="shm") == "refused"  # it has to be named
    assert _judged(CHIP, kind="shm") == "refused"


def test_the_list_holds_no_texts():
    rows = [json.loads(line) for line in LIST]
    assert len({row["sha256"] for row in rows}) == len(rows) > 100
    assert all(set(row) == {"address", "set", "encoding", "sha256", "truth"} for row in rows)
    assert {row["truth"]["kind"] for row in rows} == {*DEVICES, *ELSEWHERE, "none", "other"}
