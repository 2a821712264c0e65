"""The command as a process: exit codes, one clear error, what goes to which stream."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fwplan.errors import ExitCode

SPEC = {"model": {"n_layer": 1, "n_head": 1, "n_embd": 16, "vocab_size": 50304, "context_length": 32},
        "train": {"micro_batch_size": 2, "compile": False, "dtype": "float32", "max_steps": 6}}  # fmt: skip


@pytest.fixture
def fwplan(tmp_path):
    """Return a function that runs the command in a folder of its own."""

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "-c", "from fwplan.cli import main; main()", *map(str, arguments)],
            cwd=tmp_path,
            env=os.environ | {"FWPLAN_HOME": str(tmp_path / "home")} | environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return run


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


def _refused(done, *said, code=ExitCode.USAGE):
    assert done.returncode == code, done.stderr
    assert done.stdout == ""
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("error: ") == 1
    assert "hint: " in done.stderr
    assert "Traceback" not in done.stderr
    for text in said:
        assert text in done.stderr


def test_suggest_writes_a_plan_that_explain_reads(fwplan, folder):
    done = fwplan("suggest", "--gpu", "RTX 4070", "--tokens", "10e9", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    plan = json.loads(done.stdout)
    assert plan["estimate"]["verdict"] == "fits"
    saved = json.loads((folder / "plan.json").read_text())
    assert saved == {key: plan[key] for key in saved}
    again = fwplan("explain", "plan.json", "--json")
    assert again.returncode == 0
    assert json.loads(again.stdout)["peak"] == plan["estimate"]["peak"]


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["spec.json"], ExitCode.OK),
        (["spec.json", "--gpu", "4070"], ExitCode.OK),
        (["spec.json", "--vram", "8", "--", "--n_layer=48", "--n_embd=4096"], ExitCode.DOES_NOT_FIT),
        (["spec.json", "--world-size", "8", "--", "--parallel=fsdp"], ExitCode.UNDECIDABLE),
    ],
)
@pytest.mark.usefixtures("folder")
def test_exit_codes_of_explain(fwplan, arguments, code):
    done = fwplan("explain", *arguments)
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr


def test_a_config_with_an_unknown_that_matters_is_undecidable(fwplan, folder):
    (folder / "config.py").write_text("import os\nbatch_size = int(os.environ['B'])\n")
    _refused(fwplan("explain", "config.py"), "config.py:2", "batch_size", code=ExitCode.UNDECIDABLE)


def test_a_hostile_config_is_not_executed(fwplan, folder):
    (folder / "config.py").write_text("import os\nos.system('touch pwned')\nn_layer = open('pwned', 'w') and 12\n")
    fwplan("explain", "config.py")
    assert not (folder / "pwned").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["explain", "nowhere.json"], "nowhere.json"),
        (["explain", "."], "directory"),
        (["explain", "bad.json"], "bad.json:1"),
        (["explain", "unknown.json"], "unknown key 'train.micro_batch'"),
        (["explain", "negative.json"], "train.micro_batch_size"),
        (["explain", "newer.json"], "made by a newer fwplan"),
        (["explain", "heads.py"], "not divisible by n_head 12"),
        (["explain", "spec.json", "--gpu", "Voodoo 2"], "unknown GPU 'Voodoo 2'"),
        (["explain", "spec.json", "--vram", "-5"], "'-5'"),
        (["explain", "spec.json", "--fix", "99"], "there is no fix 99"),
        (["suggest", "--vram", "12", "--tokens", "10e"], "'10e'"),
        (["suggest", "--vram", "nan"], "'nan'"),
        (["suggest", "--vram", "12", "--hours", "inf"], "--hours"),
        (["suggest", "--device", "tpu"], "unknown device 'tpu'"),
        (["suggest", "--device", "cpu", "--gpu", "4070"], "both asked for"),
        (["suggest", "--device", "cpu", "--data", "nowhere.parquet"], "nowhere.parquet"),
        (["suggest", "--device", "cpu", "--data", "truncated.parquet"], "truncated.parquet"),
        (["suggest", "--device", "cpu", "--data", "notext.parquet"], "text"),
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "missing/plan.json"], "missing/plan.json"),
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "spec.json"], "exists and is not a plan"),
        (["run", "spec.json", "--device", "cpu"], "FineWeb files"),
        (["run", "spec.json", "--device", "cuda"], "cuda"),
        (["run", "spec.json", "--device", "cpu", "--data", "truncated.parquet"], "truncated.parquet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_in_one_clear_error(fwplan, folder, arguments, said):
    (folder / "bad.json").write_text("{")
    (folder / "unknown.json").write_text(json.dumps(SPEC | {"train": {"micro_batch": 1, "micro_batch_size": 1}}))
    (folder / "negative.json").write_text(json.dumps(SPEC | {"train": {"micro_batch_size": -1}}))
    (folder / "newer.json").write_text(json.dumps(SPEC | {"schema_version": 2}))
    (folder / "heads.py").write_text("n_embd = 512\nn_head = 12\n")
    table = pa.table({"text": ["some text"] * 100, "id": ["x"] * 100})
    pq.write_table(table, folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(table.drop(["text"]), folder / "notext.parquet")
    _refused(fwplan(*arguments), said)
    assert not (folder / "plan.json").exists()


def test_usage_errors_are_typers_own(fwplan):
    done = fwplan("suggest", "--tokns", "1")
    assert done.returncode == ExitCode.USAGE
    assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("folder")
def test_a_full_disk_is_said(fwplan):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    _refused(fwplan("run", "spec.json", "--device", "cpu", "--dry-run", FWPLAN_HOME="/dev/full"), "/dev/full")


def test_suggest_run_and_what_was_learned(fwplan, folder):
    words = [f"document {i} says that the quick brown fox jumps over {i} lazy dogs. " * 5 for i in range(200)]
    pq.write_table(pa.table({"text": words}), folder / "text.parquet", row_group_size=50)
    spec = SPEC | {"device": {"type": "cpu"}, "data": {"path": "text.parquet"}}
    (folder / "spec.json").write_text(json.dumps(spec))
    done = fwplan("run", "spec.json", "--steps", "4")
    assert done.returncode == 0, done.stderr
    assert "4 steps done" in done.stdout
    assert "✓ point" in done.stdout
    resumed = fwplan("run", "spec.json", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert "6 steps done" in resumed.stdout
    _refused(fwplan("run", "spec.json"), "--resume")
    store = (folder / "home" / "measurements.jsonl").read_text().splitlines()
    measured = json.loads(store[0])
    assert measured["peak_allocated_bytes"] == pytest.approx(measured["predicted_allocated_bytes"], rel=0.01)
    assert "uses what" in fwplan("explain", "spec.json").stdout


def test_the_plan_of_a_run_that_has_started_is_kept(fwplan, folder):
    pq.write_table(pa.table({"text": [f"{i} words of text " * 20 for i in range(200)]}), folder / "text.parquet")
    request = ("suggest", "--device", "cpu", "--data", "text.parquet", "--tokens", "4000", "--context", "32")
    assert fwplan(*request).returncode == 0
    assert fwplan(*request).returncode == 0  # not started yet: may be replaced
    before = (folder / "plan.json").read_bytes()
    done = fwplan("run", "plan.json", "--steps", "1")
    assert done.returncode == 0, done.stderr
    _refused(fwplan(*request), "a run that has started")
    assert (folder / "plan.json").read_bytes() == before
