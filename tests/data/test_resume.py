"""A preparation killed by a real SIGKILL goes on where it stopped, to the same bytes."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time

import pytest

from fwplan.data import prepare as prepare_module
from fwplan.data import publish, staging
from fwplan.data.prepare import prepare
from fwplan.errors import FwplanError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

# Shoots itself at the n-th of the moments that matter: a record written, a header written, a file moved into place.
CHILD = """
import json, os, signal, sys
from pathlib import Path
from fwplan import files
from fwplan.data import prepare as prepare_module, staging

def main():
    job = json.loads(sys.argv[1])
    left = job["after"]
    def count(real):
        def call(*arguments, **options):
            nonlocal left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*arguments, **options)
        return call
    staging.COMMIT_SECONDS = 0.0
    staging.os.fsync = count(os.fsync)
    files.os.replace = count(os.replace)
    Path.replace = count(Path.replace)
    Path.unlink = count(Path.unlink)
    prepare_module.prepare(job["source"], job["out"], **job["options"])
    print("moments:", job["after"] - left)

if __name__ == "__main__":
    main()
"""


def contents(folder):
    assert not (folder / ".partial").exists()
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start(tmp_path, source, out, after, options):
    script = tmp_path / "child.py"
    script.write_text(CHILD)
    job = {"source": str(source), "out": str(out), "after": after, "options": options}
    return subprocess.run([sys.executable, script, json.dumps(job)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "options",
    [
        {"format": "nanogpt", "workers": 1},
        {"format": "llmc", "workers": 2, "shard_tokens": 700, "dedup": True, "val_fraction": 0.1},
    ],
    ids=["nanogpt", "llmc"],
)
def test_killed_at_any_moment_it_ends_in_the_same_bytes(write, make_texts, tmp_path, options):
    texts = make_texts(120)
    source = write([*texts, *texts[:30]], group_rows=15)
    prepare(source, tmp_path / "clean" / "set", **options)
    moments = int(start(tmp_path, source, tmp_path / "whole", 10**9, options).stdout.split(":")[1])
    rng, out, kills = random.Random(0), tmp_path / "set", 0
    for after in (1, moments // 3, rng.randrange(2, moments), 12):
        done = start(tmp_path, source, out, after, options)
        assert done.returncode in (0, -signal.SIGKILL), done.stderr
        kills += done.returncode != 0
    assert kills >= 2
    prepare(source, out, **{**options, "workers": 1})
    assert contents(out) == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize("kind", ["nanogpt", "npy"])
def test_killed_while_publishing_over_an_earlier_set(write, make_texts, tmp_path, kind, monkeypatch):
    first, second = write(make_texts(50), name="a.parquet"), write(make_texts(80, seed=1), name="b.parquet")
    options = {"format": kind, "workers": 1} | ({"shard_tokens": 600} if kind == "npy" else {})
    prepare(second, tmp_path / "clean" / "set", **options)

    class KilledError(BaseException):
        pass

    for moment in range(1, 12):
        out = tmp_path / f"{moment}" / "set"
        prepare(first, out, **options)
        with monkeypatch.context() as patch:
            left = iter(range(moment, -1, -1))
            real = publish._carry_out

            def carry_out(*arguments, left=left, real=real):
                if next(left) == 1:
                    raise KilledError
                real(*arguments)

            patch.setattr(publish, "_carry_out", carry_out)
            try:
                prepare(second, out, **options)
            except KilledError:
                assert not (out / "meta.json").exists()  # half of it is there, and nobody takes it for whole
        notes = []
        prepare(second, out, note=notes.append, **options)
        assert not any("going on" in note for note in notes)  # nothing is tokenized again
        assert contents(out) == contents(tmp_path / "clean" / "set")


def test_a_real_sigkill_loses_no_more_than_the_last_seconds(write, make_texts, tmp_path):
    source = write(make_texts(4000), group_rows=20)
    script = "import sys; from fwplan.data import staging, prepare; staging.COMMIT_SECONDS = 0.05\n"
    script += "if __name__ == '__main__': prepare.prepare(sys.argv[1], sys.argv[2], workers=2)"
    path = tmp_path / "child.py"
    path.write_text(script)
    out = tmp_path / "set"
    with subprocess.Popen([sys.executable, path, source, out]) as child:
        state, deadline = out / ".partial" / "state.json", time.monotonic() + 60
        while not (state.exists() and json.loads(state.read_text())["tally"]["windows"] > 20):
            assert time.monotonic() < deadline
            if child.poll() is not None:  # finished first: a quick machine
                return
            time.sleep(0.005)
        child.kill()
    calls = []
    prepare(source, out, progress=lambda done, total: calls.append((done, total)))
    assert calls[0][0] > 0  # went on
    assert calls[-1][0] == calls[-1][1]
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


def test_another_recipe_starts_again(write, texts, tmp_path, monkeypatch):
    source = write(texts)
    interrupt(monkeypatch, source, tmp_path / "set", after=3)
    notes = []
    prepare(source, tmp_path / "set", val_fraction=0.3, note=notes.append)
    assert notes == [] or "going on" not in notes[0]
    prepare(source, tmp_path / "clean" / "set", val_fraction=0.3)
    assert contents(tmp_path / "set") == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize("damage", ["state.json", "train.000000", "train.ends", "val.000000"])
def test_a_staging_folder_that_somebody_damaged_is_not_trusted(write, texts, tmp_path, monkeypatch, damage):
    source, out = write(texts), tmp_path / "set"
    interrupt(monkeypatch, source, out, after=4, val_fraction=0.3)
    (out / ".partial" / damage).write_bytes(b"")
    prepare(source, out, val_fraction=0.3)
    prepare(source, tmp_path / "clean" / "set", val_fraction=0.3)
    assert contents(out) == contents(tmp_path / "clean" / "set")


def test_a_worker_that_dies_is_one_clear_error_and_the_work_goes_on(write, make_texts, tmp_path, monkeypatch):
    source, out = write(make_texts(200)), tmp_path / "set"
    monkeypatch.setattr(staging, "COMMIT_SECONDS", 0.0)
    real = prepare_module.ordered_map

    def dying(function, tasks, _workers):
        yield from (result for result, _ in zip(real(function, tasks, 1), range(7), strict=False))
        raise FwplanError("a worker process died, perhaps for lack of memory", hint="try again")

    with monkeypatch.context() as patch:
        patch.setattr(prepare_module, "ordered_map", dying)
        with pytest.raises(FwplanError, match="a worker process died"):
            prepare(source, out)
    assert [path.name for path in out.iterdir()] == [".partial"]
    notes = []
    prepare(source, out, note=notes.append)
    assert "going on after 70 of 200 rows" in notes
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize("seconds", [0.0, 3600.0], ids=["a record each window", "a record on the way out only"])
@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(27, "File too large")], ids=["Ctrl-C", "failed write"])
@pytest.mark.parametrize("moment", ["ends", "tokens", "digests", "val"])
def test_what_fails_within_a_window_leaves_whole_windows(
    write, make_texts, tmp_path, monkeypatch, seconds, error, moment
):
    texts = make_texts(100)
    source, out = write([*texts, *texts[:20]]), tmp_path / "set"
    options = {"workers": 1, "dedup": True, "val_fraction": 0.3, "format": "npy", "shard_tokens": 700}
    append, appended = staging.SplitFiles.append, []

    def failing(files, tokens, lengths):
        appended.append(files.split)
        if len(appended) != 11 + (moment == "val"):  # the sixth window
            append(files, tokens, lengths)
            return
        if moment == "tokens":
            files._ends.write(bytes(8 * len(lengths)))
            files._file.write(tokens[: len(tokens) // 2].tobytes())
            files.tokens += len(tokens) // 2
        elif moment == "digests":
            append(files, tokens, lengths)
        files.documents += len(lengths)
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(staging, "COMMIT_SECONDS", seconds)
        patch.setattr(staging.SplitFiles, "append", failing)
        with pytest.raises((KeyboardInterrupt, FwplanError)):
            prepare(source, out, **options)
    notes = []
    prepare(source, out, note=notes.append, **options)
    assert "going on after 50 of 120 rows" in notes
    prepare(source, tmp_path / "clean" / "set", **options)
    assert {path.name: data for path, data in contents(out).items()} == {
        path.name: data for path, data in contents(tmp_path / "clean" / "set").items()
    }


def test_interrupted_while_clearing_up_it_is_cleared_up_by_the_next(write, make_texts, tmp_path, monkeypatch):
    source, out = write(make_texts(50)), tmp_path / "set"

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(publish.shutil, "rmtree", interrupted)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, out)
    assert prepare(source, out).documents
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


FILE_LIMIT = """
import resource, sys
from fwplan.data import prepare
from fwplan.errors import FwplanError
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
try:
    prepare.prepare(sys.argv[1], sys.argv[2], workers=1, fast=False)
except FwplanError as error:
    assert "ulimit -f" in error.hint
    sys.exit(error.message)
"""


def test_a_limit_on_the_size_of_files_is_one_clear_error_each_time(write, make_texts, tmp_path):
    source, out = write(make_texts(1500), group_rows=100), tmp_path / "set"
    for _ in range(2):
        command = [sys.executable, "-c", FILE_LIMIT, str(source), str(out), "70000"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 1
        assert done.stderr == f"cannot write to '{out}': File too large\n"
    notes = []
    prepare(source, out, note=notes.append)
    assert any(note.startswith("going on after") for note in notes)
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize("fast", [True, False], ids=["gigatoken", "tiktoken"])
def test_ctrl_c_twice_ends_all_and_the_work_goes_on(write, make_texts, tmp_path, fast):
    source, out, rng = write(make_texts(4000), group_rows=20), tmp_path / "set", random.Random(0)
    script = "import sys; from fwplan.data import staging, prepare; staging.COMMIT_SECONDS = 0.05\n"
    script += f"if __name__ == '__main__': prepare.prepare(sys.argv[1], sys.argv[2], workers=2, fast={fast})"
    path, going_on = tmp_path / "child.py", 0
    path.write_text(script)
    for _ in range(2):
        with subprocess.Popen([sys.executable, path, source, out], stderr=subprocess.PIPE, text=True) as child:
            state = out / ".partial" / "state.json"
            before = json.loads(state.read_text())["tally"]["windows"] if state.exists() else 0
            going_on += before > 0
            deadline = time.monotonic() + 60
            while child.poll() is None and not (
                state.exists() and json.loads(state.read_text())["tally"]["windows"] > before + 10
            ):
                assert time.monotonic() < deadline
                time.sleep(0.005)
            for gap in (0.0, rng.uniform(0.0, 0.2)):
                time.sleep(gap)
                child.send_signal(signal.SIGINT)
            said = child.communicate(timeout=60)[1]  # it used to wait for workers that waited for it
        assert "AssertionError" not in said
    assert going_on or not (out / ".partial").exists()  # a quick machine is done before
    prepare(source, out)
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize(
    "harm",
    [
        lambda state: state["tally"].update(rows=39),
        lambda state: state["splits"]["train"].update(documents=state["splits"]["train"]["documents"] + 1),
        lambda state: state["tally"].update(windows=10**6),
        lambda state: state.pop("splits"),
        lambda state: state.update(recipe=None),
    ],
    ids=["rows", "documents", "windows", "no splits", "no recipe"],
)
def test_a_record_that_does_not_add_up_is_said_and_begun_anew(write, make_texts, tmp_path, monkeypatch, harm):
    source, out = write(make_texts(100)), tmp_path / "set"
    interrupt(monkeypatch, source, out, after=4)
    path = out / ".partial" / "state.json"
    state = json.loads(path.read_text())
    harm(state)
    path.write_text(json.dumps(state))
    notes = []
    prepare(source, out, note=notes.append)
    assert any(note.endswith(": starting again") for note in notes)
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


def test_what_was_changed_on_disk_meanwhile_is_not_published(write, make_texts, tmp_path, monkeypatch):
    source, out = write(make_texts(100)), tmp_path / "set"
    interrupt(monkeypatch, source, out, after=4)
    staged = out / ".partial" / "train.000000"
    with staged.open("r+b") as file:
        file.seek(20)
        file.write(bytes(20))
    with pytest.raises(FwplanError, match="is not what was written there") as caught:
        prepare(source, out)
    assert "starts again" in caught.value.hint
    assert not (out / "meta.json").exists()
    prepare(source, out)
    prepare(source, tmp_path / "clean" / "set")
    assert contents(out) == contents(tmp_path / "clean" / "set")


def test_files_may_be_added_behind_what_was_done(write, make_texts, tmp_path, monkeypatch):
    write(make_texts(60), name="in/b.parquet")
    out, notes = tmp_path / "set", []
    interrupt(monkeypatch, tmp_path / "in", out, after=4, val_fraction=0.2)
    write(make_texts(30, seed=1), name="in/c.parquet")
    prepare(tmp_path / "in", out, val_fraction=0.2, note=notes.append)
    assert "going on after 40 of 90 rows" in notes
    prepare(tmp_path / "in", tmp_path / "clean" / "set", val_fraction=0.2)
    assert contents(out) == contents(tmp_path / "clean" / "set")


@pytest.mark.parametrize(
    ("change", "options", "said"),
    [
        ("a.parquet", {}, "file 1 is another now"),
        (None, {"val_fraction": 0.4}, "they were made with another val_fraction"),
        (None, {"val_fraction": 0.2, "dedup": True}, "they were made with another dedup"),
    ],
)
def test_work_that_is_dropped_is_said(write, make_texts, tmp_path, monkeypatch, change, options, said):
    write(make_texts(60), name="in/b.parquet")
    out, notes = tmp_path / "set", []
    interrupt(monkeypatch, tmp_path / "in", out, after=4, val_fraction=0.2)
    if change:
        write(make_texts(30, seed=1), name=f"in/{change}")
    prepare(tmp_path / "in", out, note=notes.append, **({"val_fraction": 0.2} | options))
    assert f"40 rows that were prepared before cannot be used, for {said}: starting again" in notes


def interrupt(monkeypatch, source, out, *, after, **options):
    """Press Ctrl-C after so many windows."""
    calls = []

    def progress(_done, _total):
        calls.append(1)
        if len(calls) > after:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(staging, "COMMIT_SECONDS", 0.0)
        with pytest.raises(KeyboardInterrupt):
            prepare(source, out, progress=progress, **options)
    assert json.loads((out / ".partial" / "state.json").read_text())["tally"]["windows"] == after
