"""What ends a run and what does not: real signals, readers that leave, a second trainer, to a real `fwplan run`."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from fwplan.errors import FwplanError
from fwplan.planning.plan import run_directory
from fwplan.spec import DataSpec

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")

LONG = {"max_steps": 10**6, "eval_interval": 10**6, "checkpoint_interval": 10**6, "grad_accum_steps": 1}
SHORT = {**LONG, "max_steps": 40}


@pytest.fixture
def start(make_spec, shards, tmp_path):
    """Return a function that starts `fwplan run` and returns it, its spec and its folder, after some steps."""
    started = []

    def call(recipe, steps=None, before=(), **streams):
        plan = tmp_path / "spec.json"
        spec = make_spec(**recipe).model_copy(update={"data": DataSpec(path=str(shards.directory))})
        plan.write_text(spec.model_dump_json())
        command = [sys.executable, "-m", "fwplan", "run", str(plan), "--device", "cpu"]
        env = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "xterm-256color"}  # a terminal has a bar, from a thread
        process = subprocess.Popen([*before, *command], env=env, **streams)
        started.append(process)
        folder = run_directory(plan, spec)
        if steps is not None:
            _wait_for(lambda: len(_lines(folder)) > steps, process)
        return process, spec, folder

    yield call
    for process in started:
        process.kill()
        process.wait()


def _lines(folder):
    path = folder / "metrics.jsonl"
    return path.read_text().splitlines() if path.exists() else []


def _wait_for(condition, process):
    deadline = time.monotonic() + 300
    while not condition():
        assert process.poll() is None, "it ended"
        assert time.monotonic() < deadline, "nothing within five minutes"
        time.sleep(0.02)


def _last_step(folder):
    return json.loads(_lines(folder)[-1])["step"]


def test_sigterm_saves_a_checkpoint_and_nobody_else_trains_there_before(start, run, tmp_path):
    process, spec, folder = start(LONG, 3, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
    for resume in (True, False):
        with pytest.raises(FwplanError, match=f"in use: pid {process.pid} is training in it"):
            run(spec, folder.relative_to(tmp_path), resume=resume)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)  # a scheduler may say it twice
    said = process.communicate(timeout=300)[1].decode()
    assert process.returncode == 130, said
    step = _last_step(folder)
    assert f"saved after step {step}; go on with --resume" in said
    assert "Traceback" not in said
    resumed = run(spec, folder.relative_to(tmp_path), resume=True, steps=2)
    assert resumed.steps_done == step + 2


def test_a_terminal_that_is_gone_ends_nothing_and_its_sighup_saves(start):
    ours, theirs = os.openpty()
    process, _, folder = start(LONG, 3, stderr=theirs, stdout=theirs)
    os.close(theirs)
    os.close(ours)
    steps = len(_lines(folder))
    _wait_for(lambda: len(_lines(folder)) > steps + 20, process)
    process.send_signal(signal.SIGHUP)
    assert process.wait(timeout=300) == 130
    assert (folder / "last.pt").exists()
    assert f"saved after step {_last_step(folder)}; go on with --resume" in (folder / "log.txt").read_text()


def test_what_nohup_has_ignored_stays_ignored(start):
    process, _, folder = start(LONG, 3, before=["sh", "-c", 'trap "" HUP; exec "$@"', "sh"])
    process.send_signal(signal.SIGHUP)
    steps = len(_lines(folder))
    _wait_for(lambda: len(_lines(folder)) > steps + 20, process)


def test_readers_that_leave_end_nothing(start):
    process, _, folder = start(SHORT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout.readline().startswith(b"step 0/40  validation loss ")
    process.stdout.close()
    assert process.wait(timeout=300) == 0
    assert _last_step(folder) == 40
    log = (folder / "log.txt").read_text().splitlines()
    assert "  step 0/40  validation loss " in log[0]
    assert "  step 40/40  validation loss " in log[-1]
    assert json.loads((folder / "result.json").read_text())["steps_done"] == 40
