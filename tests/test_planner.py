import itertools

import pytest

from fwplan import planner
from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation import estimate
from fwplan.planner import MICRO_BATCHES, Request, search, shapes
from fwplan.spec import DataSpec, DeviceSpec, RunSpec
from fwplan.target import Target, named_gpu, nominal_gpu
from fwplan.units import GIB

WEEK = 168.0


def _search(gib, tokens=10_000_000_000, hours=WEEK, **fields):
    return search(Request(nominal_gpu(gib * GIB), tokens, hours, **fields), [])


@pytest.mark.parametrize("gib", [8, 12, 16, 24, 48, 80])
def test_all_that_is_proposed_fits_with_margin(gib):
    found = _search(gib)
    for candidate in (found.pick, *found.alternatives):
        again = estimate(candidate.spec, found.request.target, measurements=[])
        assert again.verdict == "fits"
        assert candidate.spec.model.n_embd % candidate.spec.model.n_head == 0
        assert candidate.tokens == candidate.spec.total_tokens


def test_the_pick_is_the_best_of_an_exhaustive_search(monkeypatch):
    monkeypatch.setattr(planner, "WIDTHS", (256, 512, 768, 1024, 1280))
    monkeypatch.setattr(planner, "DEPTHS", (4, 8, 12, 16, 20))
    request = Request(nominal_gpu(12 * GIB), 10_000_000_000, WEEK)
    best = min(_everything_that_fits(request), key=lambda candidate: candidate.law_loss)
    pick = search(request, []).pick
    assert best.law_loss - 1e-12 <= pick.law_loss <= best.law_loss + planner.LOSS_TOLERANCE


def _everything_that_fits(request):
    for model, train, micro in itertools.product(shapes(request), planner._trains(request), MICRO_BATCHES):
        sized = train.model_copy(update={"micro_batch_size": micro, "grad_accum_steps": 2})
        attempt = estimate(RunSpec(model=model, train=sized), request.target, measurements=[])
        if attempt.verdict == "fits":
            yield planner._candidate(attempt, request, [])


def test_more_memory_time_or_tokens_never_expects_a_worse_model():
    base = _search(12, hours=100.0).pick.law_loss
    slack = 0.02  # the recipe's powers of two make small steps
    assert _search(24, hours=100.0).pick.law_loss <= base + slack
    assert _search(12, hours=1000.0).pick.law_loss <= base + slack
    assert _search(12, tokens=40_000_000_000, hours=100.0).pick.law_loss <= base + slack


def test_the_hours_hold_in_the_middle_of_the_interval():
    pick = _search(12, hours=48.0).pick
    assert pick.total_seconds <= 48 * 3600
    assert pick.total_seconds > 0.9 * 48 * 3600
    assert pick.tokens < 10_000_000_000


def test_tokens_asked_for_are_trained_on_in_full():
    pick = _search(24, tokens=1_000_000_000).pick
    assert 1_000_000_000 <= pick.tokens < 1_000_000_000 + pick.spec.tokens_per_step


def test_repeated_data_is_worth_less():
    fresh = _search(12).pick
    scarce = _search(12, data=DataSpec(tokens=200_000_000)).pick
    assert scarce.law_loss > fresh.law_loss
    assert scarce.estimate.tokens.epochs > 4


def test_a_card_too_small_is_said_with_its_exit_code():
    tiny = Target(DeviceSpec(type="cuda", name="RTX 4070", total_bytes=GIB // 4), named_gpu("4070").cards)
    with pytest.raises(FwplanError, match="not even the smallest model") as caught:
        search(Request(tiny, 10**9, WEEK), [])
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT


def test_unknown_memory_is_undecidable():
    with pytest.raises(FwplanError, match="is unknown") as caught:
        search(Request(Target(DeviceSpec(name="Voodoo 2")), 10**9, WEEK), [])
    assert caught.value.exit_code == ExitCode.UNDECIDABLE


def test_a_device_of_unknown_speed_needs_tokens():
    stranger = Target(DeviceSpec(name="Voodoo 2", total_bytes=12 * GIB))
    assert search(Request(stranger, 10**9, WEEK), []).pick.estimate.step_seconds is None
    with pytest.raises(FwplanError, match="sets no horizon"):
        search(Request(stranger, None, WEEK), [])
