"""The command: exit codes, one clear error, what goes to which stream; mostly as a process of its own."""

import json
import os
import shlex
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
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "plan.txt"], "plan.txt"),
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "."], "no place for a plan"),
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "folder.json"], "folder.json"),
        (["suggest", "--vram", "12", "--tokens", "1e9", "-o", "x" * 300 + ".json"], "name too long"),
        (["explain", "spec.json", "--snapshot", "spec.json"], "exists and is not a snapshot"),
        (["data", "prepare", "whole.parquet", "-o", "x" * 300], "File name too long"),
        (["data", "count", ""], "no parquet file was named"),
        (["suggest", "--vram", "12", "--tokens", "100"], "not even one sequence"),
        (["suggest", "--vram", "12", "--hours", "1e300"], "--hours"),
        (["suggest", "--vram", "1e18"], "out of range"),
        (["suggest", "--vram", "12;5"], "'12;5'"),
        (["suggest", "--gpu", ""], "unknown GPU ''"),
        (["run", "spec.json", "--device", "cpu"], "1 FineWeb file,"),
        (["run", "spec.json", "--device", "cuda"], "cuda"),
        (["run", "spec.json", "--device", "cpu", "--data", "truncated.parquet"], "truncated.parquet"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_ends_in_one_clear_error(in_process, folder, arguments, said, monkeypatch):
    (folder / "bad.json").write_text("{")
    (folder / "folder.json").mkdir()
    (folder / "unknown.json").write_text(json.dumps(SPEC | {"train": {"micro_batch": 1, "micro_batch_size": 1}}))
    (folder / "negative.json").write_text(json.dumps(SPEC | {"train": {"micro_batch_size": -1}}))
    (folder / "newer.json").write_text(json.dumps(SPEC | {"schema_version": 3}))
    (folder / "heads.py").write_text("n_embd = 512\nn_head = 12\n")
    table = pa.table({"text": ["some text"] * 100, "id": ["x"] * 100})
    pq.write_table(table, folder / "whole.parquet")
    whole = (folder / "whole.parquet").read_bytes()
    (folder / "truncated.parquet").write_bytes(whole[: len(whole) // 2])
    pq.write_table(table.drop(["text"]), folder / "notext.parquet")
    monkeypatch.chdir(folder)
    _refused(in_process(*arguments), said)
    assert not (folder / "plan.json").exists()


@pytest.mark.parametrize("arguments", [["suggest", "--tokns", "1"], ["suggest", "--tokens"], ["explian"], ["explain"],
                                       ["run", "x.json", "--steps", "0"], ["suggest", "--hours", "week"]])  # fmt: skip
def test_usage_errors_look_like_the_others(in_process, arguments):
    _refused(in_process(*arguments))


def test_alone_it_helps(fwplan):
    done = fwplan()
    assert done.returncode == 0
    assert "suggest" in done.stdout


def test_an_error_is_json_too_where_json_was_asked_for(fwplan):
    done = fwplan("explain", "nowhere.json", "--json")
    assert done.returncode == ExitCode.USAGE
    assert "nowhere.json" in json.loads(done.stdout)["error"]["message"]
    assert done.stderr.startswith("error: ")


def test_a_reader_that_leaves_and_a_full_disk_are_no_tracebacks(folder):
    script = "from fwplan.cli import main; main()"
    command = [sys.executable, "-c", script, "explain", str(folder / "spec.json")]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert "cannot write the answer" in done.stderr
    left = subprocess.run(f"{shlex.join(command)} | head -c 1", shell=True, capture_output=True, text=True, check=False)
    assert left.stderr == ""


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
@pytest.mark.parametrize("words", ["explain spec.json", "explain spec.json --json", "doctor", "version"])
@pytest.mark.usefixtures("folder")
def test_a_closed_stream_takes_nothing_from_the_exit_code(tmp_path, words, closed):
    command = shlex.join([sys.executable, "-c", "from fwplan.cli import main; main()"])
    done = subprocess.run(f"{command} {words} {closed}", cwd=tmp_path, shell=True, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_ctrl_c_is_said(folder):
    code = (
        "import sys, signal, fwplan; from fwplan.cli import main\n"
        "fwplan.explain = lambda *_, **__: signal.raise_signal(signal.SIGINT)\n"
        "sys.argv = ['fwplan', 'explain', 'spec.json']; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == "\ninterrupted\n"
    assert (done.returncode, done.stdout) == (ExitCode.INTERRUPTED, "")


def test_a_terminal_without_our_signs_still_gets_an_answer(fwplan, folder):
    done = fwplan("explain", folder / "spec.json", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert "Peak" in done.stdout


def test_what_will_not_fit_is_not_run(fwplan, folder):
    huge = SPEC | {"train": SPEC["train"] | {"micro_batch_size": 10**6}}
    (folder / "spec.json").write_text(json.dumps(huge))
    _refused(fwplan("run", "spec.json", "--device", "cpu", "--dry-run"), "will not fit", code=ExitCode.DOES_NOT_FIT)


@pytest.mark.usefixtures("folder")
def test_a_store_that_cannot_be_written_takes_nothing_from_a_run_that_is_done(fwplan):
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("this system has no /dev/full")
    done = fwplan("run", "spec.json", "--device", "cpu", "--dry-run", FWPLAN_HOME="/dev/full")
    assert done.returncode == ExitCode.OK
    assert "live tensors" in done.stdout
    assert "note: cannot save the measurement" in done.stderr
    assert "/dev/full" in done.stderr


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


def test_every_command_is_found_by_its_name_alone():
    from fwplan.cli import HOMES, command_line

    names = lambda app: {info.callback.__name__ for info in app.registered_commands}  # noqa: E731
    for name, home in HOMES.items():
        (part,) = command_line([name]).registered_groups
        assert part.name == name if home == "data" else name in names(part.typer_instance)
    everything = command_line(["--help"]).registered_groups
    assert {name for part in everything if part.name != "data" for name in names(part.typer_instance)} | {"data"} == (
        set(HOMES)
    )
