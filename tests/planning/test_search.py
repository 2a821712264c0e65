import pytest

from fwplan.errors import ExitCode, FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.estimators.quality import FINEWEB_OFFSET
from fwplan.estimators.speed import middle
from fwplan.machine.target import Target, named_gpu, nominal_gpu
from fwplan.planning import space
from fwplan.planning.request import Request
from fwplan.planning.search import search
from fwplan.spec import DataSpec, DeviceSpec
from fwplan.spec.flat import flat
from fwplan.units import GIB

WEEK = 168.0
CARDS = (8, 12, 16, 24, 40, 48, 80)


def _search(gib, tokens=10_000_000_000, hours=WEEK, **fields):
    return search(Request(nominal_gpu(gib * GIB), tokens, hours, **fields), [])


@pytest.mark.parametrize("gib", CARDS)
def test_all_that_is_proposed_fits_with_margin_and_within_its_hours(gib):
    found = _search(gib)
    for candidate in (found.pick, *found.alternatives):
        again = estimate(candidate.spec, found.request.target, measurements=[])
        assert again.verdict == "fits"
        assert middle(again.total_seconds) <= WEEK * 3600 * (1 + 1e-6)
        assert candidate.spec.model.n_embd % candidate.spec.model.n_head == 0
        assert candidate.spec.model.n_embd % 64 == 0


@pytest.mark.parametrize("gib", CARDS)
def test_the_next_larger_micro_batch_does_not_fit_or_does_not_pay(gib):
    found = _search(gib)
    pick, train = found.pick, found.pick.spec.train
    larger = next((b for b in space.MICRO_BATCHES if b > train.micro_batch_size), None)
    if larger is None:
        return
    accumulation = max(1, round(train.micro_batch_size * train.grad_accum_steps / larger))
    spec = pick.spec.model_copy(
        update={"train": train.model_copy(update={"micro_batch_size": larger, "grad_accum_steps": accumulation})}
    )
    other = estimate(spec, found.request.target, measurements=[])
    per_token = middle(other.step_seconds) / spec.tokens_per_step
    assert (
        other.verdict != "fits" or per_token >= 0.995 * middle(pick.estimate.step_seconds) / pick.spec.tokens_per_step
    )
    assert str(larger) in found.why_not_larger_micro_batch


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


def test_epochs_bound_the_tokens():
    pick = _search(24, tokens=None, data=DataSpec(tokens=200_000_000), epochs=3).pick
    assert 2.9 <= pick.estimate.tokens.epochs <= 3


def test_money_bounds_the_time():
    card = named_gpu("RTX 4070")
    pick = search(Request(card, None, WEEK, gpu_hour_price=0.5, budget=10.0), []).pick
    assert 18 < pick.total_seconds / 3600 <= 20
    found = search(Request(card, None, WEEK, kwh_price=0.3, budget=2.0), [])
    assert found.needs.cost[0] <= 2 <= found.needs.cost[1]


def test_objectives_order_the_picks():
    by_loss, largest, fastest = (_search(24, objective=name).pick for name in ("loss", "largest", "fastest"))
    assert largest.estimate.parameters.total >= by_loss.estimate.parameters.total
    assert fastest.total_seconds < by_loss.total_seconds
    assert fastest.law_loss <= by_loss.law_loss + 0.06


def test_cheapest_reaches_the_loss_in_less_time():
    lowest = _search(24).pick
    goal = round(lowest.law_loss + FINEWEB_OFFSET[1] + 0.2, 2)
    pick = _search(24, tokens=None, objective="cheapest", loss=goal).pick
    assert pick.estimate.loss.point <= goal + 1e-3
    assert pick.total_seconds < lowest.total_seconds / 2
    with pytest.raises(FwplanError, match="no run on a 24 GB card is expected to reach"):
        _search(24, objective="cheapest", loss=1.9)


def test_pins_hold():
    pins = {"micro_batch_size": 2, "n_head": 8, "loss": "chunked", "learning_rate": 1e-4, "compile": False}
    spec = _search(12, pins=pins).pick.spec
    for name, value in pins.items():
        assert (dict(spec.model) | flat(spec.train))[name] == value
    shape = _search(12, pins={"n_layer": 12, "n_head": 12, "n_embd": 768}).pick.spec.model
    assert (shape.n_layer, shape.n_head, shape.n_embd) == (12, 12, 768)


@pytest.mark.parametrize(
    ("pins", "message"),
    [
        ({"n_embd": 768, "n_head": 7}, "nothing that is searched has n_embd=768, n_head=7"),
        ({"micro_batch_size": 4096, "n_embd": 4096, "n_layer": 48}, "not even the smallest model"),
        ({"loss": "best"}, "train.loss|loss"),
    ],
)
def test_pins_that_cannot_be(pins, message):
    with pytest.raises(FwplanError, match=message):
        _search(12, pins=pins)


def test_the_alternatives_are_worth_a_look():
    found = _search(24)
    assert found.alternatives
    for other in found.alternatives:
        smaller = other.total_seconds < found.pick.total_seconds or other.headroom_bytes > found.pick.headroom_bytes
        assert smaller or other.estimate.parameters.total > found.pick.estimate.parameters.total


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


def test_a_margin_stays_free():
    plain, held = _search(12).pick, _search(12, margin_bytes=3 * GIB).pick
    assert held.headroom_bytes >= 3 * GIB > plain.headroom_bytes
    with pytest.raises(FwplanError, match=": 0 B available") as caught:
        _search(12, margin_bytes=20 * GIB)
    assert caught.value.exit_code == ExitCode.DOES_NOT_FIT
    assert "--margin" in caught.value.hint


def test_segments_that_grow_leave_room_for_more():
    plain, grown = (_search(12, expandable_segments=on).pick for on in (False, True))
    assert not plain.spec.train.expandable_segments
    assert grown.spec.train.expandable_segments
    assert grown.law_loss <= plain.law_loss
    amd = search(Request(named_gpu("7900xtx"), 10_000_000_000, WEEK), []).pick
    assert not amd.spec.train.expandable_segments


def test_text_that_is_repeated_forty_times_carries_no_large_model():
    scarce = _search(80, tokens=None, data=DataSpec(tokens=100_000_000), hours=720.0).pick
    assert scarce.estimate.parameters.total < 200e6
    assert scarce.estimate.loss.point > 3.7
    fresh = _search(80, tokens=4_000_000_000, hours=720.0).pick
    assert fresh.estimate.parameters.total > 4 * scarce.estimate.parameters.total


def test_eight_devices_share_the_tokens():
    one = _search(24, tokens=1_000_000_000).pick
    eight = _search(24, tokens=1_000_000_000, pins={"world_size": 8, "parallel": "ddp"}).pick
    assert 1_000_000_000 <= eight.tokens < 1_000_000_000 + eight.spec.tokens_per_step
    assert eight.spec.tokens_per_step < 1.1 * 524_288  # a whole number of micro-steps
    assert eight.total_seconds < one.total_seconds


def test_eight_devices_cost_eight_times_as_much():
    card = named_gpu("RTX 4090")
    pins = {"world_size": 8, "parallel": "ddp"}
    found = search(Request(card, None, WEEK, gpu_hour_price=0.5, budget=8.0, pins=pins), [])
    assert 1.8 < found.pick.total_seconds / 3600 <= 2
    assert found.needs.cost[0] <= 8 <= found.needs.cost[1]


@pytest.mark.parametrize(
    ("target", "prices"),
    [
        (nominal_gpu(24 * GIB), {"kwh_price": 0.3}),  # whose power?
        (named_gpu("GTX 1080"), {"gpu_hour_price": 0.3}),  # how fast?
    ],
)
def test_money_that_cannot_be_reckoned_is_refused(target, prices):
    with pytest.raises(FwplanError, match="--budget sets no bound") as caught:
        search(Request(target, 1_000_000_000, WEEK, budget=5.0, **prices), [])
    assert caught.value.exit_code == ExitCode.UNDECIDABLE


def test_a_pinned_rate_falls_to_its_tenth():
    train = _search(24, pins={"learning_rate": 1e-4}).pick.spec.train
    assert (train.optimizer.learning_rate, train.schedule.min_lr) == (1e-4, 1e-5)


def test_a_rate_that_would_rise_is_refused():
    with pytest.raises(FwplanError, match=r"min_lr 0\.01 is above learning_rate 0\.001"):
        _search(24, pins={"learning_rate": 1e-3, "min_lr": 1e-2})


def test_a_warm_up_that_never_ends_is_refused():
    with pytest.raises(FwplanError, match="never ends"):
        _search(24, tokens=1_000_000_000, pins={"warmup_steps": 5000})


def test_a_large_model_on_the_customary_batch_takes_a_lower_rate():
    h200 = named_gpu("H200")
    large = search(Request(h200, 300_000_000_000, 5000.0), []).pick
    assert large.estimate.parameters.total > 3e9
    assert large.spec.train.optimizer.learning_rate < 3e-4
    small = _search(24, pins={"micro_batch_size": 1, "grad_accum_steps": 1}, tokens=1_000_000_000).pick
    assert small.spec.train.optimizer.learning_rate < 1.5e-4


def test_a_crash_costs_half_an_hour_and_an_evaluation_says_something():
    for gib in (12, 80):
        pick = _search(gib).pick
        train = pick.spec.train
        assert 0.25 < train.checkpoint_interval * middle(pick.estimate.step_seconds) / 3600 < 0.75
        assert train.eval_batches * pick.spec.tokens_per_micro_batch >= 500_000


def test_the_fastest_stops_where_the_loss_is_good_enough():
    card = named_gpu("RTX 4090")
    best, fastest = (search(Request(card, None, 24.0, objective=name), []).pick for name in ("loss", "fastest"))
    assert fastest.total_seconds < 0.9 * best.total_seconds
    assert fastest.law_loss <= best.law_loss + 0.051


@pytest.mark.parametrize(
    ("wish", "said"),
    [
        ({}, "the hours end first"),
        ({"objective": "fastest"}, "come within 0.05 nats of the lowest expected loss"),
        ({"objective": "cheapest", "loss": 3.3}, ""),
        ({"budget": 10.0, "gpu_hour_price": 0.4}, "the budget ends first"),
        ({"budget": 1000.0, "gpu_hour_price": 0.4}, "the hours end first"),  # it would pay for 2,500 hours
        ({"data": DataSpec(tokens=10**9), "epochs": 2.0}, "the epochs end first"),
    ],
)
def test_what_ends_a_run_first_is_what_ends_it(wish, said):
    found = search(Request(named_gpu("4070"), 10_000_000_000, WEEK, **wish), [])
    assert said in found.ends
    assert bool(said) == bool(found.ends)
    budget = min(WEEK, wish["budget"] / 0.4 if "budget" in wish else WEEK) * 3600
    assert ("first" in said and "epochs" not in said) == (found.pick.total_seconds > 0.97 * budget)


def test_what_no_step_has_time_for_is_not_said_to_lack_memory():
    found = _search(80, pins={"grad_accum_steps": 20_000_000})
    assert found.why_not_bigger == "not one step of a larger shape fits into the time and money"
    assert found.why_not_larger_micro_batch == "not one step of micro-batch 2 fits into the time and money"


def test_a_pinned_micro_batch_is_the_one_that_is_named():
    assert "every saving at micro-batch 64" in _search(12, hours=2 * WEEK, pins={"micro_batch_size": 64}).why_not_bigger


def test_a_larger_micro_batch_that_is_faster_a_token_says_what_it_costs_in_all():
    found = _search(12, hours=0.01, pins={"grad_accum_steps": 64})
    assert "time a token, but " in found.why_not_larger_micro_batch


@pytest.mark.parametrize(
    ("objective", "said"), [("loss", "nats"), ("largest", "parameters"), ("fastest", "of the time")]
)
def test_what_would_change_it_is_what_the_objective_asks_for(objective, said):
    found = _search(12, objective=objective)
    assert all(said in text for text in found.sensitivity)
    again = _search(24, objective="largest", tokens=1_000_000_000)
    assert not any("hours" in text for text in again.sensitivity)  # it took two of 168


def test_the_others_are_worth_a_look():
    for request in (
        {"tokens": 1_000_000}, {"tokens": 50_000_000_000}, {"tokens": None, "objective": "cheapest", "loss": 3.2},
    ):  # fmt: skip
        found = _search(24, **request)
        on_front = {p.parameters for p in found.front.points if p.on_front}
        larger = [c for c in found.alternatives if c.estimate.parameters.total > found.pick.estimate.parameters.total]
        smaller = [c for c in found.alternatives if c not in larger]
        assert len(larger) <= 1
        assert {candidate.estimate.parameters.total for candidate in smaller} <= on_front
        if request.get("loss"):
            assert all(c.estimate.loss.point <= 3.201 for c in found.alternatives)
