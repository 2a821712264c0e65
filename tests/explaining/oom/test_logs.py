"""Out-of-memory logs read correctly: messages quoted in public threads, with links, and others of their form."""

import json
from pathlib import Path

import pytest

from fwplan.api.explain_log import explain_log
from fwplan.units import GIB, KIB, MIB

LOGS = [json.loads(line) for line in Path(__file__).with_name("logs.jsonl").read_text(encoding="utf-8").splitlines()]
AMOUNTS = ("requested", "capacity", "free", "allocated", "reserved", "in_use", "allowed")
UNITS = {"b": 1, "K": KIB, "M": MIB, "G": GIB}


def _bytes(text):
    value, unit = text.split()
    return float(value) * UNITS[unit[0]]


@pytest.fixture
def found(request, tmp_path):
    case = request.param
    (tmp_path / "train.log").write_text(case["text"], encoding="utf-8")
    config = None
    if "config" in case:
        config = tmp_path / "config.py"
        config.write_text(case["config"], encoding="utf-8")
    return case["expect"], explain_log(tmp_path / "train.log", config, gpu=case["expect"].get("gpu"))


def _name(case):
    return case.get("made") or "-".join(case["link"].split("/")[4:])


def test_there_are_enough_of_them_and_their_sources_are_named():
    assert len(LOGS) >= 100
    assert len({case["text"] + case.get("config", "") for case in LOGS}) == len(LOGS)
    assert all(case.get("link", "").startswith("https://github.com/") or case.get("made") for case in LOGS)


@pytest.mark.parametrize("found", LOGS, indirect=True, ids=_name)
def test_what_the_message_says(found):
    expect, diagnosis = found
    message = diagnosis.log.message
    assert message.backend == expect.get("backend", "cuda")
    assert diagnosis.log.count == expect.get("count", 1)
    if "index" in expect:
        assert message.index == expect["index"]
    for name in AMOUNTS:
        if name in expect:
            amount = getattr(message, name)
            assert (amount.bytes if amount else None) == (_bytes(expect[name]) if expect[name] else None), name


@pytest.mark.parametrize("found", [case for case in LOGS if case["expect"]], indirect=True, ids=_name)
def test_which_tensor_and_when(found):
    expect, diagnosis = found
    first = diagnosis.candidates[0] if diagnosis.candidates else None
    strided = diagnosis.log.strided
    answers = {
        "moment": diagnosis.moment,
        "tensor": first and first.name,
        "shape": first and list(first.shape),
        "candidates": len(diagnosis.candidates),
        "strided": strided and list(strided.shape),
    }
    assert answers == answers | {name: value for name, value in expect.items() if name in answers}
    if "guess" in expect:
        assert tuple(expect["guess"]) in [guess[:3] for guess in diagnosis.guesses]
    if "live" in expect:
        assert first.live_bytes == pytest.approx(_bytes(expect["live"]), rel=0.01)


@pytest.mark.parametrize("found", [case for case in LOGS if case["expect"]], indirect=True, ids=_name)
def test_what_the_doctor_says(found):
    expect, diagnosis = found
    assert expect.get("finding", "") in "\n".join(diagnosis.findings)
    assert expect.get("contradiction", "") in "\n".join(diagnosis.contradictions)
    if expect.get("agrees"):
        assert diagnosis.contradictions == ()
