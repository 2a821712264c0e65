"""What `diff` computes and prints; of the golden files, see conftest.py."""

import json
import sys
from pathlib import Path

import pytest

from fwplan.api.diff import diff
from fwplan.cli import main
from fwplan.console.terminal import show
from fwplan.view.terminal.diff import diff_lines

CONFIG = (
    "n_layer = 12\nn_head = 12\nn_embd = 576\nbatch_size = 16\ngradient_accumulation_steps = 32\nmax_iters = 20000\n"
    "compile = False\n"
)


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(CONFIG, encoding="utf-8")


def test_the_lines_add_up_to_both_peaks():
    found = diff("config.py", "config.py", ["--compile=True"], gpu="4070")
    assert [change.field for change in found.changes] == ["train.compile"]
    assert sum(line.before for line in found.lines) == found.before.memory.allocated_bytes
    assert sum(line.after for line in found.lines) == found.after.memory.allocated_bytes
    assert found.lines[0].difference < 0


def test_what_is_printed(check_text, check_json):
    check_text("diff", diff_lines(diff("config.py", "config.py", ["--compile=True"], gpu="4070")))
    check_json("diff", "diff", "config.py", "config.py", "--gpu", "4070", "--", "--compile=True")


def test_two_runs_alike(capsys):
    show(diff_lines(diff("config.py", "config.py")))
    assert capsys.readouterr().out == "The two runs are the same.\n"


def test_the_command_line(monkeypatch, capsys):
    words = ["fwplan", "diff", "config.py", "config.py", "--vram", "12", "--json", "--", "--loss=chunked"]
    monkeypatch.setattr(sys, "argv", words)
    with pytest.raises(SystemExit) as left:
        main()
    document = json.loads(capsys.readouterr().out)
    assert left.value.code == 0
    assert document["before"]["verdict"] == "does_not_fit"
    assert document["after"]["verdict"] == "fits"
    assert {"field": "train.loss", "before": "full", "after": "chunked"} in document["changes"]
