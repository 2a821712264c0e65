"""A worker process: what it says, how it fails, and that nothing of it outlives its limit."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fwplan.errors import FwplanError
from fwplan.learning import orphan, worker

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Return a function that puts a program of its own in the worker's place: no torch, no wait."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def put(program):
        (tmp_path / "stand_in.py").write_text(program)
        monkeypatch.setattr(worker, "MEASURE_ONE", "stand_in")
        monkeypatch.setattr(worker, "ABOUT_DEVICE", "stand_in")

    return put


def _gone(pid):
    for _ in range(100):
        if not Path(f"/proc/{pid}").exists() or "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text():
            return True
        time.sleep(0.05)
    return False


HANGS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open({path!r}, "w").write(str(child.pid))
time.sleep(600)
"""


def test_a_hang_is_killed_with_all_that_it_started(stand_in, tmp_path, run_spec):
    stand_in(HANGS.format(path=str(tmp_path / "pid")))
    begin = time.monotonic()
    report, ended = worker.measure(run_spec(), 1.5)
    assert report is None
    assert ended.code is None
    assert 1.4 < ended.seconds <= time.monotonic() - begin < 10
    assert _gone(int((tmp_path / "pid").read_text()))


def test_an_interrupt_kills_the_worker(stand_in, tmp_path, run_spec, monkeypatch):
    stand_in(HANGS.format(path=str(tmp_path / "pid")))
    real, waits = subprocess.Popen.wait, []

    def interrupted(process, timeout=None):
        waits.append(process.pid)
        if len(waits) > 1:
            return real(process, timeout)
        while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
            time.sleep(0.02)
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        worker.measure(run_spec(), 60)
    assert _gone(waits[0])
    assert _gone(int((tmp_path / "pid").read_text()))


def test_the_spec_goes_in_and_the_last_line_comes_out(stand_in, run_spec):
    stand_in("""
import json, os, sys
spec = json.loads(sys.stdin.read())
print("a library says hello")
print(json.dumps({"error": str([spec["train"]["micro_batch_size"], os.path.isdir(os.environ["TORCHINDUCTOR_CACHE_DIR"]),
                               len(os.listdir(os.environ["TORCHINDUCTOR_CACHE_DIR"]))])}))
""")
    report, ended = worker.measure(run_spec(micro_batch_size=7), 60)
    assert report.error == "[7, True, 0]"
    assert ended.code == 0


@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("raise SystemExit('no such kernel')", "exit code 1: no such kernel"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "killed by SIGKILL"),
        ("import sys; sys.stderr.write('one\\ntwo\\n\\n'); sys.exit(3)", "exit code 3: two"),
        ("print('half a li')", "exit code 0"),
        ("print('[1, 2]')", "exit code 0"),
        ("print('{\"unknown\": 1}')", "exit code 0"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "exit code 0"),
    ],
)
def test_whatever_goes_wrong_has_one_line(stand_in, run_spec, program, reason):
    stand_in(program)
    report, _ = worker.measure(run_spec(), 60)
    assert report.error == reason
    assert report.measurement is report.shortage is None


def test_asking_about_a_device(stand_in):
    machine = {"device_type": "cuda", "device_name": "X", "device_total_bytes": 1, "versions": {"torch": "2.11.0"}}
    stand_in(f"import sys; print({json.dumps(machine)!r} if sys.argv[1:] == ['cuda'] else '')")
    assert worker.ask_about("cuda").device_name == "X"
    with pytest.raises(FwplanError, match="torch cannot be asked"):
        worker.ask_about(None)
    stand_in("""print('{"error": "no GPU", "hint": "buy one"}')""")
    with pytest.raises(FwplanError, match="no GPU") as caught:
        worker.ask_about("cuda")
    assert caught.value.hint == "buy one"


def test_the_log_is_the_end_of_what_it_said(stand_in, run_spec):
    stand_in("import sys; sys.stderr.write('x' * 5000 + 'the end')")
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    _, ended = worker.measure(run_spec(), 60)
    assert worker.log_of(ended).endswith("the end")
    assert len(worker.log_of(ended)) == 2000
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before  # the new one is the worker's alone


ORPHAN = """
from fwplan.learning.orphan import die_with_parent
import time
die_with_parent()
print("ready", flush=True)
time.sleep(600)
"""
CAMPAIGN = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {orphan!r}], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process of its parent's death")
def test_a_worker_does_not_outlive_a_killed_campaign():
    program = CAMPAIGN.format(orphan=ORPHAN)
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as campaign:
        orphan = int(campaign.stdout.readline())
        campaign.kill()
    assert _gone(orphan)


def test_where_there_is_no_prctl_nothing_is_asked(monkeypatch):
    def none_here(_):
        raise TypeError("bad argument type for built-in operation")  # as Windows says

    monkeypatch.setattr(orphan.ctypes, "CDLL", none_here)
    monkeypatch.setattr(orphan.sys, "platform", "win32")
    orphan.die_with_parent()
