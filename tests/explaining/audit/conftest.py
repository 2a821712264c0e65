"""The claims that are found in a comment above a config, as (topic, claimed, truth, right)."""

import pytest

import fwplan


@pytest.fixture
def claims(tmp_path):
    def claims(comment, config, gpu=None):
        path = tmp_path / "config.py"
        path.write_text(f"# {comment}\n{config}", encoding="utf-8")
        found = fwplan.explain(path, gpu=gpu)
        assert found.as_dict()["claims"] == [claim.as_dict() for claim in found.claims]
        return [(claim.topic, claim.claimed, claim.truth, claim.right) for claim in found.claims]

    return claims
