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
