"""What `explain --log` prints and refuses; of the golden files, see conftest.py."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fwplan.api.explain_log import explain_log
from fwplan.cli import main
from fwplan.errors import FwplanError
from fwplan.explaining.oom import log as log_module
from fwplan.explaining.oom.forms import messages
from fwplan.explaining.oom.log import read_log
from fwplan.view.terminal.oom import oom_lines

CONFIG = """\
# 125M parameters, fits 12 GB
n_layer = 12
n_head = 12
n_embd = 576
batch_size = 16
gradient_accumulation_steps = 32
compile = False
"""
LOG = """\
tokens per iteration will be: 524,288
number of parameters: 76.77M
Traceback (most recent call last):
  File "train.py", line 304, in <module>
    scaler.scale(loss).backward()
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 3.07 GiB. GPU 0 has a total capacity of 15.70 GiB \
of which 2.10 GiB is free. Including non-PyTorch memory, this process has 11.60 GiB memory in use. Of the allocated \
memory 11.30 GiB is allocated by PyTorch, and 100.00 MiB is reserved by PyTorch but unallocated.
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("config.py").write_text(CONFIG, encoding="utf-8")
    Path("train.log").write_text(LOG, encoding="utf-8")


def test_with_its_config(check_text):
    check_text("oom", oom_lines(explain_log("train.log", "config.py")))


def test_without_a_config(check_text):
    check_text("oom-alone", oom_lines(explain_log("train.log")))


def test_with_a_config_that_is_another_runs(check_text):
    found = explain_log("train.log", "config.py", ["--batch_size=12", "--compile=True"], gpu="4070")
    check_text("oom-contradicts", oom_lines(found))


def test_the_same_as_json(check_json):
    check_json("oom", "explain", "--log", "train.log", "config.py", code=3)


def _cli(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["fwplan", *words])
    with pytest.raises(SystemExit) as left:
        main()
    return left.value.code, capsys.readouterr()


def test_the_command_line(monkeypatch, capsys):
    code, said = _cli(monkeypatch, capsys, "explain", "--log", "train.log", "config.py", "--json")
    document = json.loads(said.out)
    assert code == 3
    assert document["tensors"][0]["shape"] == [16, 1024, 50304]
    assert document["message"]["capacity_bytes"] == round(15.70 * 2**30)
    assert document["config"]["available_bytes"] < document["message"]["capacity_bytes"]
    saves = list(document["saves_bytes"].values())
    assert saves
    assert all(isinstance(saved, int) for saved in saves)


def test_the_command_it_prints_does_what_it_says(monkeypatch, capsys):
    _, said = _cli(monkeypatch, capsys, "explain", "--log", "train.log", "config.py")
    command = next(line for line in said.out.splitlines() if "-o plan.json" in line)
    code, _ = _cli(monkeypatch, capsys, *command.split()[1:])
    assert code == 0
    assert Path("plan.json").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["explain"], "nothing to explain"),
        (["explain", "--log", "none.log"], "cannot read 'none.log'"),
        (["explain", "--log", "config.py"], "no out-of-memory message in 'config.py'"),
        (["explain", "--log", "train.log", "config.py", "--fix", "1"], "--log only explains"),
        (["explain", "--log", "train.log", "config.py", "--device", "cpu"], "--log and --device were both asked for"),
    ],
)
def test_what_is_refused(monkeypatch, capsys, words, message):
    code, said = _cli(monkeypatch, capsys, *words)
    assert code == 2
    assert message in said.err


def test_nothing_heavy_is_loaded():
    code = (
        "import sys; sys.argv = ['fwplan', 'explain', '--log', 'train.log', 'config.py']\n"
        "from contextlib import suppress\nfrom fwplan.cli import main\n"
        "with suppress(SystemExit):\n    main()\n"
        "assert not {'torch', 'pyarrow', 'tiktoken'} & set(sys.modules)"
    )
    root = str(Path(log_module.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert "out of memory" in done.stdout


def test_a_log_of_any_size_is_read_from_its_ends():
    filler = "iter 100: loss 3.1415, time 250.00ms, mfu 30.00%\n" * 400_000
    Path("long.log").write_text(LOG.split("Traceback", maxsplit=1)[0] + filler + LOG, encoding="utf-8")
    start = time.process_time()
    read = read_log("long.log")
    assert time.process_time() - start < 10  # what grows faster than its input takes minutes
    assert read.printed == {"tokens_per_step": 524_288, "parameters_without_positions": 76_770_000}
    assert read.message.capacity.bytes == 15.70 * 2**30


def test_powershell_writes_utf_16():
    Path("train.log").write_text(LOG, encoding="utf-16")
    assert read_log("train.log").message.requested.bytes == 3.07 * 2**30


@given(st.text(max_size=300), st.integers(0, len(LOG)), st.integers(0, len(LOG)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_log_is_read_or_refused(noise, start, stop):
    Path("any.log").write_text(LOG[:start] + noise + LOG[stop:], encoding="utf-8", errors="replace")
    for config in (None, "config.py"):
        try:
            list(oom_lines(explain_log("any.log", config)))
        except FwplanError as error:
            assert "no out-of-memory message" in error.message  # noqa: PT017


PIECES = ["CUDA out of memory. Tried", "RuntimeError:", "Tried", "THCudaCheck FAIL", " to allocate", "9" * 400, " GiB",
          "(GPU", "\n", " ", "<span ", "empty_strided((1, ", "device=device(", "Process 1 has 1.00 GiB"]  # fmt: skip


@given(st.lists(st.sampled_from(PIECES)))
@example(["Tried to allocate 2.00 GiB", " " * 4_000])
@example(["Allocation on device", " " * 4_000])
@example(["RuntimeError:", " " * 4_000])
def test_no_message_hangs(parts):
    start = time.process_time()
    list(messages("".join(parts) * 50))
    assert time.process_time() - start < 10  # what grows faster than its input takes minutes
