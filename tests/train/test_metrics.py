"""metrics.jsonl has each step once, whatever was cut off, and remembers what a result needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fwplan.errors import FwplanError
from fwplan.train.metrics import Metrics


def _write(path, *lines, keep_up_to=None):
    with Metrics(path, keep_up_to=keep_up_to) as metrics:
        for line in lines:
            metrics.write(line)
    return metrics


def _train(step, loss):
    return {"step": step, "loss": loss}


def _val(step, loss):
    return {"step": step, "val_loss": loss}


def _steps(path):
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


def test_lines_are_on_file_at_once(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with Metrics(path, keep_up_to=None) as metrics:
        metrics.write(_train(1, 3.0))
        assert path.read_text() == '{"step": 1, "loss": 3.0}\n'


def test_resuming_drops_what_the_checkpoint_does_not_know(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, _val(0, 5.0), _train(1, 4.0), _train(2, 3.0), _val(2, 2.5), _train(3, 2.0))
    metrics = _write(path, _train(3, 2.0), keep_up_to=2)
    assert _steps(path) == [0, 1, 2, 2, 3]
    assert metrics.evaluated == {0, 2}
    assert (metrics.first_loss, metrics.last_loss) == (4.0, 2.0)
    assert (metrics.first_val_loss, metrics.last_val_loss, metrics.best_val_loss) == (5.0, 2.5, 2.5)


def test_a_fresh_start_drops_all(tmp_path):
    path = tmp_path / "metrics.jsonl"
    _write(path, _val(0, 5.0), _train(1, 4.0))
    metrics = _write(path)
    assert path.read_text() == ""
    assert metrics.first_loss is None


def test_the_best_is_not_the_last(tmp_path):
    metrics = _write(tmp_path / "metrics.jsonl", _val(0, 5.0), _val(1, 2.0), _val(2, 3.0))
    assert (metrics.best_val_loss, metrics.last_val_loss) == (2.0, 3.0)


def test_a_line_cut_short_by_a_kill_is_dropped(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 4.0}\n[1]\nnull\n{"step": 2, "lo')
    metrics = _write(path, _train(2, 3.5), keep_up_to=9)
    assert _steps(path) == [1, 2]
    assert metrics.last_loss == 3.5


@pytest.mark.skipif("not __import__('os').path.exists('/dev/full')", reason="needs /dev/full")
def test_a_full_disk_is_one_clear_error(tmp_path):
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, keep_up_to=None)
    metrics._file.close()
    metrics._file = Path("/dev/full").open("ab", buffering=0)  # noqa: SIM115 - closed by metrics
    with metrics, pytest.raises(FwplanError, match="No space left"):
        metrics.write(_train(1, 1.0))
