"""What every test starts from: an empty measurement store and no colour. And what is held by golden files.

FWPLAN_UPDATE_GOLDEN=1 rewrites tests/golden, and what README.md and docs/ show of it: read the difference.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pages
import pytest
from hypothesis import settings

from fwplan.cli import main
from fwplan.console.terminal import WIDTH, show
from fwplan.spec import DeviceSpec, ModelSpec, RunSpec, TrainSpec

# What trains, traces, compiles, starts processes or tries all there is: folders of tests, and files by name, wherever
# they are. `make quick` leaves it out.
SLOW = {
    "data", "model", "tracing", "train",
    "test_allocator_properties.py", "test_boundaries.py", "test_cli.py", "test_compiled.py", "test_data_command.py",
    "test_exhaustive.py", "test_explain_trace.py", "test_formulas.py", "test_measure_command.py", "test_memory.py",
    "test_moments.py", "test_needs.py", "test_parameters.py", "test_report.py",
}  # fmt: skip
GOLDEN = Path(__file__).parent / "golden"
UPDATE = bool(os.environ.get("FWPLAN_UPDATE_GOLDEN"))

settings.register_profile("fwplan", max_examples=60, deadline=None)
settings.load_profile("fwplan")


def pytest_collection_modifyitems(items):
    for item in items:
        if not SLOW.isdisjoint(item.path.relative_to(Path(__file__).parent).parts):
            item.add_marker("slow")


@pytest.fixture(autouse=True)
def _own_store(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FWPLAN_HOME", str(tmp_path_factory.mktemp("home")))
    monkeypatch.setenv("NO_COLOR", "1")


@pytest.fixture(scope="session")
def run_spec():
    """Return a function that builds a RunSpec from the names of either section."""

    def build(device=None, data=None, **fields):
        model = {k: fields.pop(k) for k in list(fields) if k in ModelSpec.model_fields}
        model = {"n_layer": 12, "n_head": 12, "n_embd": 768} | model
        train = {"micro_batch_size": 16} | fields
        if isinstance(device, str):
            device = DeviceSpec(type=device)
        return RunSpec(model=ModelSpec(**model), train=TrainSpec(**train), device=device, data=data)

    return build


@pytest.fixture
def check_text(capsys, monkeypatch):
    """Return a function that holds what is printed against golden/<name>.txt: 80 columns, the same in colour."""

    def printed(lines):
        show(lines)
        return capsys.readouterr().out

    def check(name, lines):
        lines = list(lines)
        text = printed(lines)
        if UPDATE:
            _rewrite(GOLDEN / f"{name}.txt", text)
        assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
        assert all(len(line) <= WIDTH == 80 for line in text.splitlines()), max(text.splitlines(), key=len)
        assert "\x1b" not in text
        with monkeypatch.context() as terminal:
            terminal.delenv("NO_COLOR")
            for variable, value in {"FORCE_COLOR": "1", "TERM": "xterm-256color", "COLUMNS": "40"}.items():
                terminal.setenv(variable, value)
            coloured = printed(lines)
        assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == text
        # coloured where, and only where, a line has markup
        assert ("\x1b[" in coloured) == any(re.search(r"(?<!\\)\[/?[a-z ]*\]", line) for line in lines)

    return check


def _rewrite(path, text):
    """Write a golden file, and what the pages show of it."""
    if path.exists():
        was = path.read_text(encoding="utf-8").splitlines()
        for page in pages.PAGES:
            pages.refresh(page, path.stem, was, text.splitlines())
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def in_process(capsys, monkeypatch):
    """Return a function that runs `fwplan WORDS` in this process, sparing a second of start; it returns what a process
    would: returncode, stdout, stderr."""

    def run(*words):
        with monkeypatch.context() as process:
            for name, value in (("argv", ["fwplan", *map(str, words)]), ("stdout", sys.stdout), ("stderr", sys.stderr)):
                process.setattr(sys, name, value)  # main() puts its own streams in their place
            with pytest.raises(SystemExit) as left:
                main()
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, left.value.code, said.out, said.err)

    return run


@pytest.fixture
def check_json(in_process):
    """Return a function that holds a command's --json document against golden/<name>.json, floats to nine digits."""

    def check(name, verb, *words, code=0):
        done = in_process(verb, "--json", *words)
        assert (done.returncode, done.stderr) == (code, "")
        document = _rounded(json.loads(done.stdout))
        path = GOLDEN / f"{name}.json"
        if UPDATE:
            path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        assert document == json.loads(path.read_text(encoding="utf-8"))

    return check


def _rounded(value):
    """Return a document whose floats another machine's last digits do not change."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value
