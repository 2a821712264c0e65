"""Where a log's text comes from: files, pipes and standard input, of any size and encoding."""

import io
import os
import sys
import threading
from pathlib import Path

import pytest

from fwplan.cli import main
from fwplan.errors import FwplanError
from fwplan.explaining.oom import text as text_module
from fwplan.explaining.oom.log import read_log
from fwplan.units import GIB

START = "tokens per iteration will be: 491,520\n"
LINE = "iter 100: loss 3.1415 ✓ time 250.00ms\n"
END = "RuntimeError: CUDA out of memory. Tried to allocate 2.00 GiB (GPU 0; 15.90 GiB total capacity; 1.00 GiB free)\n"


@pytest.fixture
def piped():
    """Return a function that makes a pipe which holds bytes, and returns a path to read it by."""
    ends = []

    def pipe(data):
        out, into = os.pipe()
        writer = threading.Thread(target=_write, args=(into, data))
        writer.start()
        ends.append((out, writer))
        return Path(f"/dev/fd/{out}")

    yield pipe
    for out, writer in ends:
        os.close(out)
        writer.join()


def _write(into, data):
    with os.fdopen(into, "wb") as file:
        file.write(data)


def _is_read(log):
    assert log.message.requested.bytes == 2 * GIB
    assert log.message.free.bytes == GIB
    assert log.printed == {"tokens_per_step": 491_520}


@pytest.mark.skipif(not Path("/dev/fd").is_dir(), reason="no /dev/fd here")
@pytest.mark.parametrize("lines", [0, 10, 2000])
def test_a_pipe_is_read_from_both_ends(piped, monkeypatch, lines):
    monkeypatch.setattr(text_module, "HEAD_BYTES", 1024)
    monkeypatch.setattr(text_module, "TAIL_BYTES", 4096)
    _is_read(read_log(piped((START + LINE * lines + END).encode())))


def _stdin(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input(monkeypatch, capsys):
    _stdin(monkeypatch, (START + LINE + END).encode())
    monkeypatch.setattr(sys, "argv", ["fwplan", "explain", "--log", "-"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 3
    assert "asked for 2.00 GiB" in capsys.readouterr().out


def test_standard_input_without_a_message_is_called_by_its_name(monkeypatch):
    _stdin(monkeypatch, LINE.encode())
    with pytest.raises(FwplanError, match="no out-of-memory message in standard input"):
        read_log("-")


def test_standard_input_that_is_closed(monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(FwplanError, match="cannot read standard input: it is closed"):
        read_log("-")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("extra", ["", "x"])  # the middle left out is of an even or an odd number of characters
def test_a_long_log_in_any_encoding(tmp_path, monkeypatch, encoding, ending, extra):
    monkeypatch.setattr(text_module, "HEAD_BYTES", 1024)
    monkeypatch.setattr(text_module, "TAIL_BYTES", 4096)
    text = (START + LINE * 500 + extra + END).replace("\n", ending)
    (tmp_path / "train.log").write_bytes(text.encode(encoding))
    _is_read(read_log(tmp_path / "train.log"))


def test_nothing_is_put_between_the_ends_where_nothing_is_missing(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "HEAD_BYTES", len(START) + 20)  # within END
    (tmp_path / "train.log").write_text(START + END, encoding="utf-8")
    _is_read(read_log(tmp_path / "train.log"))
