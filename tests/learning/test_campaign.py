"""A campaign: what is skipped, what is cut off, and what is kept of each outcome. Nothing here starts a process."""

import itertools
import json

import pytest

from fwplan.learning import campaign, progress, worker
from fwplan.learning.campaign import Campaign, Limits
from fwplan.learning.result import Report, Shortage
from fwplan.learning.result_file import ResultFile
from fwplan.learning.store import load_measurements
from fwplan.learning.worker import Ended
from fwplan.machine.target import Target
from fwplan.spec import DeviceSpec

UNKNOWN = Target(DeviceSpec(type="cuda"))  # a device of unknown speed: only starting and compiling cost time
DONE = Ended(0, "", "warned\n", 2.0)


@pytest.fixture
def start(machine, tmp_path, monkeypatch, make_report):
    """Return a function that begins a campaign whose worker is `answer(spec, limit)`; measured where it is None."""

    def begin(answer=None, limits=None):
        def measure(spec, limit):
            return (answer and answer(spec, limit)) or (make_report(spec), DONE)

        monkeypatch.setattr(worker, "measure", measure)
        return Campaign(machine, UNKNOWN, ResultFile(tmp_path / "r.jsonl"), limits or Limits(100.0, None))

    return begin


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that stands still until somebody moves it."""
    now = [0.0]
    for module in (campaign, progress):
        monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def _specs(run_spec, *sizes):
    return [run_spec(micro_batch_size=size, compile=False) for size in sizes]


def test_what_has_a_result_is_not_measured_again(start, run_spec):
    first = start()
    assert first.run(first.pending(_specs(run_spec, 1, 2))) == 0
    again = start()
    pending = again.pending(_specs(run_spec, 2, 3, 1, 3, 4))
    assert [spec.train.micro_batch_size for spec in pending] == [3, 4]
    assert pending[0].device == DeviceSpec(type="cuda", name="Stand-in", total_bytes=2**34)


def test_each_outcome_is_a_result(start, run_spec, tmp_path, capsys):
    shortage = Shortage(allocated_bytes=5, reserved_bytes=6, tried_bytes=7, said="CUDA out of memory")
    outcomes = {
        1: None,
        2: (Report(shortage=shortage), DONE),
        3: (None, Ended(None, "", "compiling\n", 100.0)),
        4: (Report(error="efficient attention is not for this card"), DONE),
        5: (Report(), DONE),
    }
    begun = start(lambda spec, _limit: outcomes[spec.train.micro_batch_size])
    assert begun.run(begun.pending(_specs(run_spec, *outcomes))) == 0
    lines = [json.loads(line) for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert [line["status"] for line in lines] == ["measured", "oom", "timeout", "failed", "failed"]
    assert [line["oom"] for line in lines] == [False, True, False, False, False]
    assert [line["error"] for line in lines] == [
        None, "CUDA out of memory", "no result after 100 s; killed", "efficient attention is not for this card",
        "too few steps could be measured",
    ]  # fmt: skip
    assert lines[1]["shortage"]["tried_bytes"] == 7
    assert [line["log"] for line in lines] == [None, None, "compiling", "warned", "warned"]
    assert lines[0]["predicted"]["allocated_bytes"] == lines[0]["measurement"]["peak_allocated_bytes"]
    said = capsys.readouterr()
    assert said.out == ""
    assert "[2/5] 12L/768 2x1024 bfloat16 eager ... oom: CUDA out of memory, 2.0 s  ETA" in said.err


def test_the_store_learns_with_what_others_held(start, run_spec):
    begun = start()
    begun.run(begun.pending(_specs(run_spec, 1)))
    [stored] = load_measurements()
    assert stored.spec.device.in_use_bytes == 700
    assert stored.device_name == "Stand-in"


def test_a_store_that_cannot_be_written_costs_no_result(start, run_spec, monkeypatch):
    monkeypatch.setenv("FWPLAN_HOME", "/dev/full")
    begun = start()
    begun.run(begun.pending(_specs(run_spec, 1, 2)))
    assert len(begun.results.results) == 2
    assert "cannot save" in begun.unsaved.message


def test_the_budget_ends_the_campaign_between_specs(start, run_spec, clock):
    def slow(_spec, _limit):
        clock[0] += 20

    begun = start(slow, Limits(100.0, 50.0))
    # 20 s each: a third one would end at 60
    assert begun.run(begun.pending(_specs(run_spec, 1, 2, 3, 4))) == 2
    assert len(begun.results.results) == 2


def test_what_is_cheap_may_still_fit_the_budget(start, run_spec, clock):
    def as_expected(spec, _limit):
        clock[0] += 40 if spec.train.compile else 7.5

    begun = start(as_expected, Limits(100.0, 30.0))
    specs = [run_spec(compile=compiled, micro_batch_size=b) for b, compiled in ((1, False), (2, True), (3, False))]
    assert begun.run(begun.pending(specs)) == 1
    assert [r.spec.train.compile for r in begun.results.results.values()] == [False, False]


def test_a_spec_that_the_budget_cuts_off_has_no_result(start, run_spec, clock, capsys):
    limits = []

    def hang(_spec, limit):
        limits.append(limit)
        clock[0] += limit
        return None, Ended(None, "", "", limit)

    begun = start(hang, Limits(100.0, 50.0))
    assert begun.run(begun.pending(_specs(run_spec, 1, 2))) == 2
    assert limits == [50.0]
    assert begun.results.results == {}
    assert "the budget is spent" in capsys.readouterr().err


def test_an_interrupt_leaves_the_results_before_it(start, run_spec, tmp_path):
    counter = itertools.count()

    def interrupted(_spec, _limit):
        if next(counter) == 1:
            raise KeyboardInterrupt

    begun = start(interrupted)
    with pytest.raises(KeyboardInterrupt):
        begun.run(begun.pending(_specs(run_spec, 1, 2, 3)))
    again = ResultFile(tmp_path / "r.jsonl")
    assert [r.spec.train.micro_batch_size for r in again.results.values()] == [1]
    assert (tmp_path / "r.jsonl").read_bytes().endswith(b"\n")


def test_a_mode_that_is_not_modelled_has_no_prediction(start, run_spec):
    spec = run_spec(parallel="fsdp", world_size=2)
    begun = start(lambda *_: (Report(error="fsdp is not supported"), DONE))
    begun.run(begun.pending([spec]))
    [result] = begun.results.results.values()
    assert result.predicted is None
    assert result.error_ratio is None
