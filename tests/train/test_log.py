"""What a user sees on stderr: a bar on a terminal, few plain lines elsewhere, nothing when quiet."""

from __future__ import annotations

import io
import sys

import pytest

from fwplan.train import log
from fwplan.train.log import Display


class _Terminal(io.StringIO):
    def isatty(self):
        return True


def _show(n_steps, start=0, quiet=False):
    with Display(start=start, end=n_steps, quiet=quiet) as display:
        display.evaluation(start, 5.4321)
        for step in range(start + 1, n_steps + 1):
            display.step(step, 10 / step, 12_345.0)


def test_plain_lines_are_few_and_end_with_the_last_step(capsys):
    _show(1000)
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert lines[0] == "step 0/1000  validation loss 5.4321"
    assert len(lines) == 21
    assert lines[1].startswith("step 50/1000  loss 0.2000  12.3 k tokens/s  ETA ")
    assert lines[-1] == "step 1000/1000  loss 0.0100  12.3 k tokens/s  done"
    assert "\x1b" not in err


def test_a_slow_run_says_something_every_ten_seconds(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(log.time, "monotonic", lambda: now[0])
    with Display(start=0, end=1000, quiet=False) as display:
        for step in range(1, 13):
            now[0] += 4
            display.step(step, 1.0, 10.0)
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["3/1000", "6/1000", "9/1000", "12/1000"]
    assert lines[-1].endswith("ETA 66 min")  # 988 steps of 4 s


def test_a_resumed_run_goes_on_counting(capsys):
    _show(10, start=8)
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["8/10", "9/10", "10/10"]


def test_quiet_says_nothing(capsys):
    _show(10, quiet=True)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_a_bar(monkeypatch, no_color):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    _show(10)
    shown = terminal.getvalue()
    assert "step 10/10" in shown
    assert "loss 1.0000  12.3 k tokens/s  done" in shown
    assert "step 0/10  validation loss 5.4321" in shown
    assert ("\x1b[38;" in shown) is not no_color


def test_a_dumb_terminal_gets_plain_lines(monkeypatch):
    terminal = _Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "dumb")
    _show(10)
    assert "\x1b" not in terminal.getvalue()
    assert len(terminal.getvalue().splitlines()) == 11
