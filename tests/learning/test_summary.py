"""The closing table: every figure from the results, and what the terminal shows of it."""

import pytest

from fwplan.console.terminal import show
from fwplan.errors import ExitCode, FwplanError
from fwplan.learning import request
from fwplan.learning.request import MeasureReport, MeasureRequest, run_request
from fwplan.learning.result import predict
from fwplan.learning.summary import summarise
from fwplan.view.terminal.measure import measure_lines


@pytest.fixture
def results(make_result, run_spec):
    evaluated = run_spec(compile=False, micro_batch_size=4, eval_micro_batch_size=32)
    return [
        make_result(run_spec(compile=False, micro_batch_size=1), ratio=1.02),
        make_result(run_spec(compile=False, micro_batch_size=2), ratio=0.90),
        make_result(run_spec(compile=False, micro_batch_size=3), ratio=1.04),
        make_result(run_spec(dtype="float16"), "oom"),
        make_result(run_spec(dtype="float16", bias=True), "timeout"),
        make_result(run_spec(bias=True), "failed"),
        make_result(evaluated, evaluation_peak_bytes=predict(evaluated).evaluation_bytes // 2),
    ]


def test_a_row_counts_and_measures_its_mode(results):
    rows = {row.mode: row for row in summarise(results)}
    assert (rows["all"].measured, rows["all"].ooms, rows["all"].failures) == (4, 1, 2)
    assert rows["eager"].median_error == pytest.approx(0.03, abs=1e-6)
    assert rows["eager"].worst_error == pytest.approx(-0.10, abs=1e-6)
    float16 = rows["float16"]
    assert (float16.measured, float16.median_error, float16.worst_error) == (0, None, None)
    assert (float16.ooms, float16.failures) == (1, 1)
    assert rows["bias"].failures == 2
    # the step of the evaluated one is exact; what its evaluation was predicted is twice what it took
    assert rows["larger evaluation"].worst_error == pytest.approx(0, abs=1e-6)
    assert rows["an evaluation's own peak"].worst_error == pytest.approx(1.0, abs=1e-6)


def test_what_others_held_is_not_this_runs(results):
    assert results[0].own_device_bytes == results[0].measurement.device_used_bytes - 700
    assert results[3].own_device_bytes is None


def test_the_table_fits_a_terminal(results, tmp_path, capsys):
    report = MeasureReport(
        tuple(summarise(results)), tmp_path / "r.jsonl", "Stand-in", 2, 5, "fwplan measure --grid full", None
    )
    show(measure_lines(report))
    text = capsys.readouterr().out
    table = text.partition("results:")[0]
    assert max(map(len, table.splitlines())) <= 80
    assert "  eager                        4    3.00%  -10.00%    -       -" in text
    assert "  float16                      0        -        -    1       1" in text
    assert "r.jsonl, 2 of them from before" in text.replace("\n", "")
    assert "5 left for lack of time; to go on:\n  fwplan measure --grid full" in text


def _request(tmp_path, **changes):
    fields = {"grid": None, "specs": (), "device": None, "output": tmp_path / "r.jsonl", "timeout": 5.0, "budget": None}
    return MeasureRequest(**fields | changes, command="fwplan measure")


def test_the_full_grid_is_not_for_a_cpu(tmp_path, machine, monkeypatch):
    monkeypatch.setattr(request, "ask_about", lambda _: machine.model_copy(update={"device_type": "cpu"}))
    for device in ("cpu", None):
        with pytest.raises(FwplanError, match="a CPU would take days") as caught:
            run_request(_request(tmp_path, grid="full", device=device))
        assert "--grid small" in caught.value.hint
    assert not (tmp_path / "r.jsonl").exists()


@pytest.mark.parametrize(("changes", "said"), [({"grid": "huge"}, "'huge'"), ({"device": "tpu"}, "'tpu'")])
def test_an_unknown_word_is_refused_before_anything_starts(changes, said, tmp_path, monkeypatch):
    monkeypatch.setattr(request, "ask_about", None)
    with pytest.raises(FwplanError, match=said):
        run_request(_request(tmp_path, **changes))


@pytest.mark.parametrize(
    ("statuses", "code"),
    [(["oom", "measured"], None), (["oom", "oom"], ExitCode.DOES_NOT_FIT), (["oom", "failed"], ExitCode.USAGE)],
)
def test_one_measured_spec_is_enough(statuses, code, tmp_path, machine, monkeypatch, make_result, run_spec):
    results = [make_result(run_spec(micro_batch_size=b), status) for b, status in enumerate(statuses, 1)]
    path = tmp_path / "r.jsonl"
    path.write_text("".join(result.model_dump_json() + "\n" for result in results))
    monkeypatch.setattr(request, "ask_about", lambda _: machine)
    report = run_request(_request(tmp_path, specs=tuple(result.spec for result in results)))
    assert report.known == 2
    assert (report.problem and report.problem.exit_code) == code
