import pytest

from fwplan.estimation.estimate import estimate
from fwplan.estimators.quality import FINEWEB_OFFSET
from fwplan.estimators.recipe import EVALUATION_SHARE
from fwplan.machine.target import Target, nominal_gpu
from fwplan.planning.choose import LEAST_TOKENS_PER_PARAMETER
from fwplan.planning.front import point_of
from fwplan.planning.request import Request
from fwplan.planning.rivals import rivals
from fwplan.planning.search import search
from fwplan.spec import DeviceSpec
from fwplan.units import GIB


def _search(gib=12, tokens=10_000_000_000, **fields):
    return search(Request(nominal_gpu(gib * GIB), tokens, 168.0, **fields), [])


@pytest.mark.parametrize("fields", [{}, {"tokens": None}, {"gib": 80}, {"objective": "largest"}])
def test_the_points_are_what_the_search_found(fields):
    found = _search(**fields)
    best, points = found.front.best, found.front.points
    judged = best.ok & (best.tokens >= LEAST_TOKENS_PER_PARAMETER * best.parameters)
    assert len(points) == judged.sum()
    for point, law, seconds, needed in zip(
        points, best.loss[judged], best.seconds[judged], best.needed[judged], strict=True
    ):
        assert (point.seconds, point.needed_bytes) == (seconds, round(needed))
        assert point.headroom_bytes >= 0
        if point.loss is not None:
            assert point.loss.point == pytest.approx(law + FINEWEB_OFFSET[1], abs=1e-9)
            assert point.loss.low < point.loss.point < point.loss.high


@pytest.mark.parametrize("fields", [{}, {"gib": 80}, {"tokens": 1_000_000_000}])
def test_a_point_is_on_the_front_where_none_beats_it(fields):
    points = [point for point in _search(**fields).front.points if point.loss]
    figures = [(point.loss.point, point.seconds, point.needed_bytes) for point in points]
    for point, own in zip(points, figures, strict=True):
        beaten = any(all(a <= b for a, b in zip(other, own, strict=True)) and other != own for other in figures)
        assert point.on_front == (not beaten), point


@pytest.mark.parametrize("objective", ["loss", "largest", "fastest"])
def test_the_pick_is_one_of_the_points(objective):
    found = _search(objective=objective)
    (picked,) = [point for point in found.front.points if point.picked]
    model = found.pick.spec.model
    assert (picked.n_layer, picked.n_embd) == (model.n_layer, model.n_embd)
    assert picked.parameters == found.pick.estimate.parameters.total
    assert picked.loss.point == pytest.approx(found.pick.estimate.loss.point, abs=2e-3)
    without = picked.seconds / (1 + EVALUATION_SHARE)  # the search keeps this share free for evaluation
    assert without * 0.999 <= found.pick.total_seconds <= picked.seconds * 1.001
    assert picked.needed_bytes == pytest.approx(found.pick.estimate.use.needed.high, rel=1e-6)


def test_the_points_are_made_when_asked_for():
    found = _search()
    assert "points" not in vars(found.front)
    assert found.front.points is found.front.points


def test_an_unknown_speed_is_not_a_time_of_nought():
    found = search(Request(Target(DeviceSpec(name="Voodoo 2", total_bytes=12 * GIB)), 10**9, 168.0), [])
    assert {point.seconds for point in found.front.points} == {None}
    assert rivals(found.pick.estimate) is None


def test_a_run_is_searched_beside_within_its_own_slowest_time(run_spec):
    alone = estimate(run_spec(max_tokens=5_000_000_000), nominal_gpu(24 * GIB), measurements=[])
    found = rivals(alone)
    assert found.request.tokens == alone.tokens.total
    assert max(point.seconds for point in found.front.points) <= alone.total_seconds[1] * (1 + 1e-9)
    own = point_of(alone)
    assert (own.loss, own.parameters) == (alone.loss, alone.parameters.total)
    assert alone.total_seconds[0] < own.seconds < alone.total_seconds[1]


def test_nothing_is_searched_beside_a_run_without_device_or_horizon(run_spec):
    card = nominal_gpu(24 * GIB)
    assert rivals(estimate(run_spec(max_tokens=10**9), measurements=[])) is None
    assert rivals(estimate(run_spec(), card, measurements=[])) is None
    assert rivals(estimate(run_spec(max_tokens=10**9, world_size=2, parallel="ddp"), card, measurements=[])) is None
    assert point_of(estimate(run_spec(), card, measurements=[])) is None
