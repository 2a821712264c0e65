import json

import pytest

from fwplan.errors import FwplanError
from fwplan.estimation.estimate import estimate
from fwplan.machine.target import named_gpu
from fwplan.planning.plan import Plan, plan_id, run_directory


@pytest.fixture
def plan(run_spec):
    return Plan.of(estimate(run_spec(max_steps=10), named_gpu("4070"), measurements=[]), "a test")


def test_a_plan_reads_back_and_holds_its_spec(plan, tmp_path):
    path = plan.save(tmp_path / "plan.json")
    assert Plan.load(path) == plan
    assert Plan.load(path).spec == plan.spec
    assert set(json.loads(path.read_text())) == {
        "schema_version", "model", "train", "device", "data", "fwplan_version", "objective", "predicted", "reasons"
    }  # fmt: skip
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"schema_version": 3}', "made by a newer fwplan"),
        ("{", "plan.json:1"),
        ('{"model": {}, "train": {}}', "this is a spec, not a plan"),
        ('{"predicted": 1}', "Field required"),
    ],
)
def test_what_is_no_plan_is_refused(text, said, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(FwplanError) as caught:
        Plan.load(path)
    assert said in str(caught.value)


def test_a_prediction_that_is_damaged_can_be_made_again(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(plan.model_dump(mode="json") | {"predicted": "x"}))
    with pytest.raises(FwplanError, match="predicted: Input should be an object") as caught:
        Plan.load(path)
    assert caught.value.hint == f"make it again: fwplan explain {path} -o plan2.json"


def test_an_editors_byte_order_mark_is_no_harm(plan, tmp_path):
    path = tmp_path / "plan.json"
    path.write_text(plan.model_dump_json(), encoding="utf-8-sig")
    assert Plan.load(path) == plan


def test_a_missing_plan_says_how_to_make_one(tmp_path):
    with pytest.raises(FwplanError, match="no such file") as caught:
        Plan.load(tmp_path / "plan.json")
    assert "fwplan suggest" in caught.value.hint


def test_a_failed_save_leaves_the_old_plan(plan, tmp_path, monkeypatch):
    path = plan.save(tmp_path / "plan.json")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fwplan.files.os.fsync", full)
    with pytest.raises(FwplanError, match="No space left on device"):
        plan.model_copy(update={"objective": "another"}).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["plan.json"]


def test_the_id_follows_what_is_trained_not_where(run_spec, tmp_path):
    spec = run_spec()
    assert plan_id(spec) == plan_id(run_spec(device="cpu"))
    assert plan_id(spec) != plan_id(run_spec(micro_batch_size=8))
    assert run_directory(tmp_path / "plan.json", spec) == tmp_path / "runs" / plan_id(spec)
