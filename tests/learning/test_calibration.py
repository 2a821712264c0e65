from pathlib import Path

import pytest

from fwplan.api.explain import explain
from fwplan.errors import FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.explaining.doctor import examine
from fwplan.learning.calibration import calibrate
from fwplan.learning.measurement import Measurement
from fwplan.learning.store import load_measurements, record, store_path
from fwplan.machine import Cpu
from fwplan.machine.target import named_gpu
from fwplan.model.llama import Llama
from fwplan.view.terminal.explain import explain_lines

CARD = named_gpu("RTX 4070")
COMMON = {
    "device_type": "cuda", "torch_version": "2.13.0", "fwplan_version": "0", "measured_at": "2026-01-01T00:00:00+00:00",
    "tokens_per_second": 1.0, "timed_steps": 5,
}  # fmt: skip


@pytest.fixture
def measured(run_spec):
    def build(allocated=1.02, seconds=10.0, name="NVIDIA GeForce RTX 4070", **fields):
        spec = run_spec(**fields)
        predicted = estimate(spec, CARD, measurements=[]).memory.allocated_bytes
        peak = round(predicted * allocated)
        return Measurement(
            spec=spec, device_name=name, predicted_allocated_bytes=predicted, peak_allocated_bytes=peak,
            peak_reserved_bytes=round(peak * 1.03), device_used_bytes=round(peak * 1.03) + 400_000_000,
            step_seconds=seconds, **COMMON,
        )  # fmt: skip

    return build


def _learn(spec, runs, name=CARD.label):
    return calibrate(spec, estimate(spec, CARD, measurements=[]).memory.step_bytes, name, runs)


def test_a_run_narrows_the_next_estimate_of_its_device(run_spec, measured):
    spec = run_spec(max_steps=100)
    before = estimate(spec, CARD, measurements=[])
    after = estimate(spec, CARD, measurements=[measured()])
    width = lambda e: e.use.device_used.high - e.use.device_used.low  # noqa: E731
    assert after.memory_status == "calibrated"
    assert after.use.allocated.point == pytest.approx(1.02 * before.use.allocated.point)
    assert width(after) < width(before) / 2
    assert after.step_seconds[0] < 10.0 < after.step_seconds[1]
    assert after.step_seconds[1] / after.step_seconds[0] < 1.4
    assert after.time_status == "calibrated"


def test_the_lines_still_add_up_after_a_correction(run_spec, measured):
    after = estimate(run_spec(), CARD, measurements=[measured()])
    assert sum(line.bytes for line in after.at_peak()) == round(after.use.allocated.point)
    assert any(line.status == "calibrated" for line in after.lines)


def test_another_device_teaches_nothing(run_spec, measured):
    assert _learn(run_spec(), [measured(name="NVIDIA GeForce RTX 4070 Ti")]) is None
    assert _learn(run_spec(), [measured()], name="rtx-4070").runs == 1


def test_another_mode_teaches_overheads_but_no_correction(run_spec, measured):
    found = _learn(run_spec(compile=False), [measured(allocated=1.02)])
    assert found.allocated_ratio is None
    assert found.reserved_ratio == pytest.approx(1.03, rel=1e-6)
    assert found.context_bytes.low < 400_000_000 == found.context_bytes.point < found.context_bytes.high
    assert found.timed == ()


def test_what_the_allocator_kept_is_not_carried_to_its_other_setting(run_spec, measured):
    assert _learn(run_spec(), [measured(expandable_segments=True)]).reserved_ratio is None
    assert _learn(run_spec(expandable_segments=True), [measured(expandable_segments=True)]).reserved_ratio == (
        pytest.approx(1.03, rel=1e-6)
    )


def test_speed_carries_to_another_shape_with_a_wider_interval(run_spec, measured):
    small = estimate(run_spec(n_layer=6), CARD, measurements=[measured(seconds=8.0)])
    same = estimate(run_spec(), CARD, measurements=[measured(seconds=8.0)])
    assert small.step_seconds[1] < same.step_seconds[1] * 1.5
    spread = [e.step_seconds[1] / e.step_seconds[0] for e in (same, small)]
    assert spread[0] < spread[1]


def test_a_toy_teaches_nothing_about_a_real_model(run_spec, measured):
    toy = measured(allocated=1.4, seconds=0.02, n_layer=2, n_head=2, n_embd=64, micro_batch_size=1, vocab_size=512)
    spec = run_spec(max_steps=10)
    before, after = (estimate(spec, CARD, measurements=runs) for runs in ([], [toy]))
    assert after.use.allocated == before.use.allocated
    assert after.step_seconds == before.step_seconds
    assert after.memory_status == before.memory_status == "prior"


@pytest.mark.parametrize("other", [{"returns_logits": True}, {"optimizer_impl": "foreach"}, {"grad_accum_steps": 4}])
def test_a_mode_that_was_not_measured_is_not_corrected(run_spec, measured, other):
    assert _learn(run_spec(**other), [measured()]).allocated_ratio is None


def test_the_interval_of_time_holds_every_run_it_rests_on(run_spec, measured):
    runs = [measured(seconds=1.0), measured(seconds=4.0)]
    low, high = estimate(run_spec(), CARD, measurements=runs).step_seconds
    assert low < 1.0
    assert high > 4.0


def test_other_kernels_teach_no_speed(run_spec, measured):
    assert _learn(run_spec(attention="math"), [measured()]).timed == ()


def test_one_architecture_teaches_another_neither_bytes_nor_speed(run_spec, measured):
    llama = run_spec().model_copy(update={"model": Llama(n_layer=12, n_head=12, n_embd=768)})
    other = _learn(llama, [measured()])
    assert (other.allocated_ratio, other.timed) == (None, ())
    assert other.reserved_ratio == pytest.approx(1.03, rel=1e-6)  # the allocator is the same


def test_disagreeing_runs_widen_the_interval(run_spec, measured):
    one = _learn(run_spec(), [measured(allocated=1.0)])
    two = _learn(run_spec(), [measured(allocated=1.0), measured(allocated=1.1)])
    assert two.allocated_error > one.allocated_error


def test_the_store_keeps_every_run_and_survives_a_torn_line(measured):
    assert load_measurements() == []
    first, second = measured(), measured(seconds=5.0)
    record(first)
    with store_path().open("a") as store:
        store.write('{"spec": {"mod\n')
    record(second)
    assert load_measurements() == [first, second]


def test_what_follows_a_line_that_was_cut_short_is_kept(measured):
    first, second = measured(), measured(seconds=5.0)
    record(first)
    with store_path().open("a") as store:
        store.write('{"spec": {"mod')
    record(second)
    record(first)
    assert load_measurements() == [first, second, first]


def test_a_user_without_a_home_has_no_measurements_but_an_answer(monkeypatch):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("FWPLAN_HOME")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert store_path() == Path("/.local/state/fwplan/measurements.jsonl")


def test_a_store_that_cannot_be_written_is_named(measured, monkeypatch):
    monkeypatch.setenv("FWPLAN_HOME", "/dev/null/x")
    with pytest.raises(FwplanError, match="cannot save the measurement") as caught:
        record(measured())
    assert caught.value.where == "/dev/null/x/measurements.jsonl"


@pytest.mark.parametrize(
    "odd",
    [
        {"peak_allocated_bytes": 1}, {"peak_allocated_bytes": 2**53}, {"predicted_allocated_bytes": 1},
        {"step_seconds": 1e30}, {"step_seconds": 1e-300}, {"device_used_bytes": 2**53},
    ],
)  # fmt: skip
def test_a_record_that_no_step_can_have_made_teaches_nothing(odd, run_spec, measured, monkeypatch):
    spec = run_spec(max_steps=10)
    alone = estimate(spec, CARD)
    record(measured(device=CARD.device).model_copy(update=odd))
    with store_path().open("ab") as store:
        store.write(b"\xff\x00 garbage\n\n")
    assert estimate(spec, CARD) == alone
    record(measured(device=CARD.device))
    assert load_measurements() == [measured(device=CARD.device)]
    monkeypatch.setattr("fwplan.machine.found.detect_cpu", lambda: Cpu("CPU", 1, None, None, None))
    said = [problem.message for problem in examine(lambda _: None, {}, "Linux").problems]
    assert "lines of the measurement store that cannot be read: 1" in said
    assert "lines of the measurement store that no step can have taken: 1" in said


@pytest.mark.parametrize("factor", [0.11, 9.0])
def test_the_oddest_record_that_counts_is_still_an_answer(factor, run_spec, measured, tmp_path):
    spec = run_spec(max_steps=10, device=CARD.device)
    record(measured(allocated=factor, seconds=86_000.0))
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert "calibrated" in "\n".join(explain_lines(explain(tmp_path / "spec.json")))
