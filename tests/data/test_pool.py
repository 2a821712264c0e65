from __future__ import annotations

import math
import os
import subprocess
import sys
import time

import pytest

from fwplan.data.pool import cpus, ordered_map
from fwplan.errors import FwplanError

# Functions of the standard library, so that a spawned worker can import them whatever the name of this module.


@pytest.mark.parametrize("workers", [1, 2])
def test_results_come_in_order(workers):
    assert list(ordered_map(math.factorial, range(20), workers)) == [math.factorial(n) for n in range(20)]


def test_few_tasks_are_in_flight():
    started, ahead = [], []

    def tasks():
        for n in range(30):
            started.append(n)
            yield n

    for done, _ in enumerate(ordered_map(math.sqrt, tasks(), 2)):
        ahead.append(len(started) - done)
    assert len(ahead) == 30
    assert max(ahead) <= 4


def test_a_worker_that_dies_is_one_clear_error():
    with pytest.raises(FwplanError, match="a worker process died"):
        list(ordered_map(os._exit, [9] * 4, 2))


def test_a_worker_that_fails_is_one_clear_error():
    with pytest.raises(FwplanError, match="a worker process failed with ValueError"):
        list(ordered_map(math.sqrt, [1.0, -1.0], 2))


def test_a_script_without_a_guard_runs_once(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import math\nfrom fwplan.data.pool import ordered_map\nprint(list(ordered_map(math.factorial, range(5), 2)))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[1, 1, 2, 6, 24]"]
    assert done.stderr == ""


def test_workers_end_when_their_parent_is_killed(tmp_path):
    beat = tmp_path / "beat"
    (tmp_path / "beating.py").write_text(
        "import time\n"
        "def work(path):\n"
        "    for _ in range(1000):\n"
        "        open(path, 'a').write('.')\n"
        "        time.sleep(0.02)\n"
    )
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        "from beating import work\n"
        "from fwplan.data.pool import ordered_map\n"
        "list(ordered_map(work, [sys.argv[1]], 2))\n"
    )
    with subprocess.Popen([sys.executable, str(script), str(beat)]) as parent:
        wait_until(lambda: beat.exists() and beat.stat().st_size > 2)
        parent.kill()
    time.sleep(0.5)
    size = beat.stat().st_size
    time.sleep(0.3)
    assert beat.stat().st_size == size


def wait_until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.02)


def test_there_is_a_cpu():
    assert 1 <= cpus() <= os.cpu_count()
