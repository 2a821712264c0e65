"""The results file: what a kill leaves is read, what is added is whole, what is something else is refused."""

import os
from pathlib import Path

import pytest

from fwplan.errors import FwplanError
from fwplan.learning.result import key
from fwplan.learning.result_file import ResultFile


def test_results_come_back_as_they_were(make_result, run_spec, tmp_path):
    file = ResultFile(tmp_path / "r.jsonl")
    results = [make_result(run_spec(micro_batch_size=b), status) for b, status in ((1, "measured"), (2, "oom"))]
    for result in results:
        file.append(result)
    again = ResultFile(tmp_path / "r.jsonl")
    assert list(again.results.values()) == results
    assert (tmp_path / "r.jsonl").read_bytes().count(b"\n") == 2


def test_a_line_cut_short_is_passed_over_and_the_next_is_whole(make_result, run_spec, tmp_path):
    path = tmp_path / "r.jsonl"
    first, second = (make_result(run_spec(micro_batch_size=b)) for b in (1, 2))
    file = ResultFile(path)
    file.append(first)
    file.append(second)
    path.write_bytes(path.read_bytes()[:-100])
    again = ResultFile(path)
    assert list(again.results) == [first.key]
    again.append(second)
    again.append(make_result(run_spec(micro_batch_size=3)))
    assert len(ResultFile(path).results) == 3


def test_the_same_spec_elsewhere_is_another_result(make_result, run_spec, machine):
    spec = run_spec()
    placed = make_result(spec).spec
    here = key(spec, machine)
    assert here == key(placed, machine)  # the device is the machine's, whatever the file said
    assert here != key(run_spec(micro_batch_size=17), machine)
    assert here != key(spec, machine.model_copy(update={"device_name": "Other"}))
    assert here != key(spec, machine.model_copy(update={"versions": {"torch": "2.13.0"}}))
    assert here == key(spec, machine.model_copy(update={"versions": {"torch": "2.11.0", "python": "3.14"}}))


@pytest.mark.parametrize("text", ["{}\n", "not json\n", '{"status": "measured"}\n'])
def test_somebody_elses_file_is_refused_and_kept(text, tmp_path):
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(FwplanError, match="holds no results"):
        ResultFile(tmp_path / "r.jsonl")
    assert (tmp_path / "r.jsonl").read_text() == text


@pytest.mark.parametrize("place", ["missing/r.jsonl", ".", "x" * 300])
def test_a_place_that_cannot_be_written_is_said_at_once(place, tmp_path):
    with pytest.raises(FwplanError, match="cannot write results") as caught:
        ResultFile(tmp_path / place)
    assert caught.value.hint


def test_a_full_disk_is_said(make_result, run_spec):
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    file = ResultFile(Path(os.devnull))
    file.path = Path("/dev/full")
    with pytest.raises(FwplanError, match="No space left"):
        file.append(make_result(run_spec()))
