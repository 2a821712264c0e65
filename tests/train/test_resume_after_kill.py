"""A run killed by a real SIGKILL goes on bit for bit as if it had not been."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")

# A process of its own: trains slowly so that it can be shot, or shoots itself just before its n-th checkpoint is
# renamed into place.
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
import torch
from fwplan.data.shards import open_shards
from fwplan.spec import RunSpec
from fwplan import files
from fwplan.train import measure
from fwplan.train.loop import train

job = json.loads(sys.argv[1])
torch.set_num_threads(1)  # as in the process that it is compared with
real_step, real_replace, renamed = measure.train_step, os.replace, []

def slow_step(*arguments):
    time.sleep(job["delay"])
    return real_step(*arguments)

def replace(source, target):
    if str(target).endswith("last.pt"):
        renamed.append(target)
        if len(renamed) == job["kill_at_rename"]:
            os.kill(os.getpid(), signal.SIGKILL)
    real_replace(source, target)

measure.train_step = slow_step
files.os.replace = replace
shards = open_shards(job["shards"])
train(RunSpec.model_validate(job["spec"]), shards, Path(job["run_dir"]),
      device=torch.device("cpu"), predicted_allocated_bytes=1, quiet=True)
"""


def _start(spec, shards, run_dir, *, delay=0.0, kill_at_rename=0):
    job = {
        "spec": spec.model_dump(mode="json"),
        "shards": str(shards.directory),
        "run_dir": str(run_dir),
        "delay": delay,
        "kill_at_rename": kill_at_rename,
    }
    return subprocess.Popen([sys.executable, "-c", CHILD, json.dumps(job)], stderr=subprocess.PIPE)


def _wait_for_step(process, run_dir, step):
    deadline = time.monotonic() + 120
    metrics = run_dir / "metrics.jsonl"
    while time.monotonic() < deadline:
        assert process.poll() is None, process.stderr.read().decode()
        if metrics.exists() and f'{{"step": {step}, "loss"' in metrics.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"no step {step} within two minutes")


def _assert_killed(process):
    assert process.wait(timeout=120) == -signal.SIGKILL, process.stderr.read().decode()
    process.stderr.close()


RECIPES = {
    "float32": {},
    "bfloat16": {"dtype": "bfloat16", "loss": "chunked", "loss_chunk_tokens": 10, "checkpointing": "block"},
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_killed_between_checkpoints(recipe, make_spec, shards, run, history, assert_same_state, tmp_path):
    spec = make_spec({"dropout": 0.2}, **RECIPES[recipe])
    process = _start(spec, shards, tmp_path / "killed", delay=0.2)
    _wait_for_step(process, tmp_path / "killed", 8)
    process.kill()
    _assert_killed(process)

    killed = history(tmp_path / "killed")
    assert killed[-1][0] in (8, 9)  # two or three steps past the checkpoint at step 6: they will be done again
    whole = run(spec, "whole")
    resumed = run(spec, "killed", resume=True)
    assert history(resumed.run_dir) == history(whole.run_dir)
    assert killed == history(whole.run_dir)[: len(killed)]
    assert_same_state(whole.run_dir, resumed.run_dir)


@pytest.mark.parametrize("nth", [1, 3])
def test_killed_while_a_checkpoint_is_being_written(
    nth, make_spec, shards, run, history, assert_same_state, files_in, tmp_path
):
    spec = make_spec({"dropout": 0.2})
    _assert_killed(_start(spec, shards, tmp_path / "killed", kill_at_rename=nth))
    left = files_in(tmp_path / "killed")
    assert "last.pt.tmp" in left
    assert ("last.pt" in left) is (nth > 1)

    whole = run(spec, "whole")
    resumed = run(spec, "killed", resume=True)
    assert history(resumed.run_dir) == history(whole.run_dir)
    assert_same_state(whole.run_dir, resumed.run_dir)
    assert "last.pt.tmp" not in files_in(tmp_path / "killed")
