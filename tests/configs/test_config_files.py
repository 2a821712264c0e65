"""Config files of every kind that is read, each with the values that its spec must have."""

import json
from pathlib import Path

import pytest

from fwplan.configs import load_config

FILES = [json.loads(line) for line in Path(__file__).with_name("files.jsonl").read_text(encoding="utf-8").splitlines()]


def test_there_are_enough_of_them():
    assert len(FILES) >= 60
    assert len({case["name"] for case in FILES}) == len(FILES)


@pytest.mark.parametrize("case", FILES, ids=lambda case: case["name"])
def test_a_file_is_read_correctly(case, tmp_path):
    path = tmp_path / case["file"]
    path.write_text(case["text"], encoding="utf-8", newline="")
    loaded = load_config(path, case.get("overrides", ()))
    if "unknown" in case:
        assert loaded.spec is None
        assert sorted(one.key for one in loaded.unknown) == case["unknown"]
        assert all(one.reason for one in loaded.unknown)
        return
    assert loaded.unknown == ()
    values = loaded.spec.model.model_dump() | loaded.spec.train.model_dump()
    expected = {name: pytest.approx(value) if isinstance(value, float) else value for name, value in
                case["expect"].items()}  # fmt: skip
    assert {name: values[name] for name in expected} == expected
