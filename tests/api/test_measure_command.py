"""`fwplan measure` as a process: killed and resumed, refused, and `python -m fwplan`."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwplan.errors import ExitCode

MODEL = {"n_layer": 1, "n_head": 1, "n_embd": 16, "vocab_size": 512, "context_length": 32}
TRAIN = {"micro_batch_size": 2, "compile": False, "dtype": "float32"}


@pytest.fixture
def folder(tmp_path):
    for name, change in (("a", {}), ("b", {"dtype": "bfloat16"}), ("refused", {"attention": "efficient"})):
        (tmp_path / f"{name}.json").write_text(json.dumps({"model": MODEL, "train": TRAIN | change}))
    return tmp_path


@pytest.fixture
def start(folder):
    def begin(*arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "fwplan", "measure", *arguments, "--device", "cpu"],
            cwd=folder, env=os.environ | {"FWPLAN_HOME": str(folder / "home"), "PYTHONPATH": str(Path.cwd())},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    return begin


def _wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_killed_it_goes_on_where_it_was(start, folder):
    request = ("--spec", "a.json", "--spec", "b.json", "--spec", "refused.json")
    process, results = start(*request), folder / "results.jsonl"
    _wait_for(lambda: results.exists() and results.read_bytes().count(b"\n") == 1)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    before = results.read_text()
    results.write_text(before + before[:500])  # as if it had been killed in the midst of a line

    again = start(*request)
    said, progress = again.communicate(timeout=120)
    assert again.returncode == ExitCode.OK, progress
    assert "results.jsonl, 1 of them from before" in said
    assert "[1/2] 1L/16 2x32 bfloat16 eager" in progress
    lines = [line for line in results.read_text().splitlines() if line.endswith("}")]
    assert lines[0] == before.strip()
    rows = [json.loads(line) for line in lines]
    assert [row["status"] for row in rows] == ["measured", "measured", "failed"]
    assert "exists on CUDA only" in rows[2]["error"]
    assert rows[1]["measurement"]["peak_allocated_bytes"] == pytest.approx(
        rows[1]["predicted"]["allocated_bytes"], rel=0.01
    )
    assert len((folder / "home" / "measurements.jsonl").read_text().splitlines()) == 2


def test_the_campaign_itself_loads_no_torch():
    # a context of its own on the GPU would be counted as somebody else's
    probe = "import sys, fwplan.learning.request; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", probe], capture_output=True, check=True).stdout.split() == [b"False"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--grid", "huge"], "unknown grid 'huge'"),
        (["--grid", "full"], "a CPU would take days"),
        (["--spec", "nowhere.json"], "nowhere.json"),
        (["--timeout", "0"], "--timeout"),
        (["--timeout", "inf"], "--timeout must be a number of seconds, not inf"),
        (["--spec", "a.json", "-o", "missing/r.jsonl"], "missing/r.jsonl"),
    ],
)
def test_bad_requests_end_in_one_clear_error(start, arguments, said):
    process = start(*arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == ExitCode.USAGE, err
    assert out == ""
    assert err.startswith("error: ")
    assert "hint: " in err
    assert said in err
