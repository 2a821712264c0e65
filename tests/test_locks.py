"""Locks on folders, tried by real processes: one at a time, freed by any death, nothing left behind."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading

import pytest

from fwplan import locks
from fwplan.errors import FwplanError
from fwplan.locks import locked

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="readers share no lock there, and files stay")

HOLD = """
import sys
from pathlib import Path
from fwplan.locks import locked
with locked(Path(sys.argv[1]), "mending it", key=sys.argv[2] or None, shared=sys.argv[3] == "shared"):
    print("held", flush=True)
    sys.stdin.read()
"""

ADD = """
import sys
from pathlib import Path
from fwplan import locks
locks._POLL_SECONDS, locks._UNNAMED_SECONDS = 0.001, 60
number = Path(sys.argv[2])
for _ in range(25):
    with locks.locked(Path(sys.argv[1]), "adding", key="add"):
        number.write_text(str(int(number.read_text()) + 1))
"""


@pytest.fixture
def hold():
    """Return a function that starts a process which holds a folder until its stdin is closed."""
    started = []

    def start(folder, key="", mode="alone"):
        command = [sys.executable, "-c", HOLD, str(folder), key, mode]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.stdin.close()
        process.stdout.close()
        process.wait()


def test_a_second_process_is_refused_with_the_pid_of_the_first(hold, tmp_path):
    first = hold(tmp_path / "set")
    with pytest.raises(FwplanError, match=f"pid {first.pid} is mending it") as caught, locked(tmp_path / "set", "x"):
        pass
    assert caught.value.where == str(tmp_path / "set")
    first.communicate("")
    with locked(tmp_path / "set", "x"):
        pass
    assert not (tmp_path / "set").exists()  # made for the lock, and nothing was put there


def test_a_killed_holder_holds_nothing(hold, tmp_path):
    first = hold(tmp_path)
    first.kill()
    first.wait()
    with locked(tmp_path, "going on"):
        assert (tmp_path / ".lock").exists()
    assert list(tmp_path.iterdir()) == []


def test_the_same_work_is_waited_for_and_other_work_is_not(hold, tmp_path):
    first, said = hold(tmp_path, key="a"), []

    def note(text):
        said.append(text)
        first.stdin.close()

    with pytest.raises(FwplanError, match="is in use"), locked(tmp_path, "other", key="b"):
        pass
    with locked(tmp_path, "the same", key="a", note=note):
        assert first.wait(60) == 0
    assert said == [f"waiting: pid {first.pid} is mending it in {tmp_path}"]


def test_readers_share_and_a_writer_is_alone(hold, tmp_path):
    first, second = hold(tmp_path, mode="shared"), hold(tmp_path, mode="shared")
    with pytest.raises(FwplanError, match="is in use"), locked(tmp_path, "writing"):
        pass
    first.communicate("")
    with pytest.raises(FwplanError, match=f"pid {second.pid}"), locked(tmp_path, "writing"):
        pass
    second.communicate("")
    with locked(tmp_path, "writing"), pytest.raises(FwplanError, match=f"pid {os.getpid()} is writing"):
        locked(tmp_path, "reading", shared=True).__enter__()
    assert list(tmp_path.iterdir()) == []


def test_processes_that_come_and_go_are_never_two_at_once(tmp_path):
    number = tmp_path / "number"
    number.write_text("0")
    command = [sys.executable, "-c", ADD, str(tmp_path / "set"), str(number)]
    for process in [subprocess.Popen(command) for _ in range(4)]:
        assert process.wait(60) == 0
    assert number.read_text() == "100"


def test_threads_of_one_process_are_two(tmp_path):
    refused = []

    def second():
        try:
            with locked(tmp_path, "x"):
                pass
        except FwplanError as error:
            refused.append(error)

    with locked(tmp_path, "writing"):
        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1


def test_a_filesystem_without_locks_is_used_and_said(tmp_path, monkeypatch):
    said = []

    def no_locks(_file, *, shared):
        raise OSError(errno.ENOLCK, f"No locks available{shared * ''}")

    monkeypatch.setattr(locks, "_lock", no_locks)
    with locked(tmp_path, "writing", note=said.append):
        pass
    assert said == [f"{tmp_path} has no locks (No locks available): start nothing else in it meanwhile"]


def test_a_link_in_the_lock_s_place_is_not_followed(tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("keep")
    (tmp_path / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"\.lock"), locked(tmp_path, "writing"):
        pass
    assert precious.read_text() == "keep"


def test_a_folder_that_cannot_be_written_is_read_without_a_lock(tmp_path, monkeypatch):
    def read_only(*_):
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(locks.os, "open", read_only)
        with locked(tmp_path, "reading", shared=True):
            pass
        with pytest.raises(OSError, match="Read-only"), locked(tmp_path, "writing"):
            pass


def test_a_record_of_somebody_who_has_ended_names_nobody(hold, tmp_path, monkeypatch):
    monkeypatch.setattr(locks, "_UNNAMED_SECONDS", 0.0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    hold(tmp_path)
    lock = tmp_path / ".lock"
    lock.write_text(lock.read_text().replace(str(json.loads(lock.read_text())["pid"]), str(ended.pid)))
    with pytest.raises(FwplanError, match="another process holds it"), locked(tmp_path, "writing"):
        pass
