"""Files of version 1 go on meaning what they meant. Those in golden/version_1 were written by fwplan 0.1.0."""

import json
from pathlib import Path

import pytest

import fwplan
from fwplan.errors import FwplanError
from fwplan.learning.store import load_measurements
from fwplan.planning.plan import Plan, plan_id
from fwplan.spec import RunSpec, parse_spec
from fwplan.spec.flat import flat
from fwplan.train.run_dir import SPEC, open_run_dir

GOLDEN = Path(__file__).parents[1] / "golden" / "version_1"
SPECS = json.loads((GOLDEN / "specs.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_is_read_keeps_its_fields_and_its_run_its_folder(name):
    document, train = SPECS[name]["spec"], SPECS[name]["spec"]["train"]
    spec = parse_spec(document, "spec.json")
    assert spec.schema_version == 2
    assert {field: flat(spec.train)[field] for field in train} == train | _of_others(train)
    assert plan_id(spec) == SPECS[name]["plan_id"]
    assert parse_spec(spec.model_dump(mode="json"), "again") == spec


def _of_others(train):
    """What version 1 kept beside an optimizer that has no use for it: this version says the default again."""
    return {"momentum": 0.9} if train["optimizer"] != "sgd" else {"beta1": 0.9, "beta2": 0.95}


@pytest.mark.parametrize("name", SPECS)
def test_a_run_of_version_1_is_gone_on_with(name, tmp_path):
    (tmp_path / SPEC).write_text(json.dumps(SPECS[name]["spec"]), encoding="utf-8")
    spec = parse_spec(SPECS[name]["spec"], "spec.json")
    with open_run_dir(tmp_path, spec, resume=True, note=print):
        pass
    other = spec.but(learning_rate=1.0)
    with (
        pytest.raises(FwplanError, match=r"train\.learning_rate is .* there and 1.0 here"),
        open_run_dir(tmp_path, other, resume=True, note=print),
    ):
        pass


def test_a_plan_and_a_store_are_read(tmp_path, monkeypatch):
    plan = Plan.load(GOLDEN / "plan.json")
    assert plan.spec.train.optimizer.implementation == "foreach"
    assert fwplan.load_config(GOLDEN / "plan.json", ["--optimizer=sgd"]).spec.train.optimizer.name == "sgd"
    monkeypatch.setenv("FWPLAN_HOME", str(tmp_path))
    (tmp_path / "measurements.jsonl").write_bytes((GOLDEN / "measurements.jsonl").read_bytes())
    (past,) = load_measurements()
    assert past.spec.train == plan.spec.train


def test_one_that_keeps_its_version_is_upgraded_and_a_newer_one_refused():
    document = SPECS["plain"]["spec"]
    assert RunSpec.model_validate(document | {"schema_version": 2}) == RunSpec.model_validate(document)
    with pytest.raises(FwplanError, match="schema_version 3 was made by a newer fwplan") as caught:
        parse_spec(document | {"schema_version": 3}, "spec.json")
    assert "pip install -U" in caught.value.hint
