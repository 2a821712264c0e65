"""benchmarks/corpus.py on files made here: what counts as right, as refused and as wrong; and the labels' own shape."""

import hashlib
import json
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))

from corpus import COMPARED, LABELS, counts, judge, labels

CONFIG = "batch_size = 8\nblock_size = 512\nn_layer = 2\nn_head = 2\nn_embd = 64\ndtype = 'float16'\ncompile = False\n"
# 50304*64 + 512*64 + 2*(12*64*64 + 2*64) + 64: nanoGPT's vocabulary, no biases
TRUTH = {"parameters": 3350848, "micro_batch": 8, "context": 512, "dtype": "float16", "compile": False}


@pytest.fixture
def judged(tmp_path):
    """Return a function that judges a file of this text beside this truth."""

    def of(text=CONFIG, judgeable=True, name="001-config.py", half="dev", sha256=None, **truth):
        path = tmp_path / half / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        label = {"id": "001", "half": half, "kind": "made", "path": name, "sha256": sha256 or _sha256(path)}
        return judge(label | {"truth": TRUTH | {"judgeable": judgeable} | truth}, tmp_path)

    return of


def _sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_an_answer_as_the_truth_is_right(judged):
    row = judged()
    assert (row.outcome, row.exit, row.said) == ("right", 0, "")


@pytest.mark.parametrize(("key", "value"), [("parameters", 3350849), ("context", 1024), ("compile", True)])
def test_any_compared_value_that_differs_is_wrong(judged, key, value):
    row = judged(**{key: value})
    assert (row.outcome, row.exit, row.said) == ("wrong", 0, f"{key} {TRUTH[key]}, not {value}")


def test_what_is_null_is_not_compared_and_what_is_also_right_is_right(judged):
    assert judged(compile=None).outcome == "right"
    assert judged(dtype="bfloat16", also_right={"dtype": ["float16"]}).outcome == "right"


def test_the_context_is_what_is_trained_on(judged):
    spec = {
        "model": {"n_layer": 2, "n_head": 2, "n_embd": 64, "context_length": 1024},
        "train": {"micro_batch_size": 8, "sequence_length": 512, "dtype": "float16", "compile": False},
    }
    assert judged(json.dumps(spec), name="spec.json", parameters=None).outcome == "right"


def test_a_refusal_is_honest_where_there_is_nothing_to_judge(judged):
    unknown = CONFIG + "dataset = 'nowhere'\n"  # and so its vocabulary
    assert judged(unknown, judgeable=False).outcome == "honestly refused"
    row = judged(unknown)
    assert (row.outcome, row.exit) == ("refused needlessly", 4)
    assert "vocab_size" in row.said


def test_a_verdict_on_what_cannot_be_known_is_wrong(judged):
    assert judged(judgeable=False, parameters=None).said == "a verdict, where it cannot be known: parameters"
    assert judged(judgeable=False).outcome == "as the truth, not judgeable"
    assert judged(judgeable=False, context=1024).outcome == "wrong"


def test_a_run_on_a_device_of_unknown_memory_is_told_apart(judged):
    row = judged(CONFIG + "device = 'mps'\n", dtype="float32")  # nanoGPT has autocast on CUDA alone
    assert (row.outcome, row.exit) == ("right, device unknown", 4)


def test_another_file_is_not_judged(judged):
    row = judged(sha256="0" * 64)
    assert (row.outcome, row.exit) == ("not there", None)


def test_a_message_names_the_file_without_the_folder(judged, tmp_path):
    row = judged("steps: 3\n", name="001-a.yaml", judgeable=False)
    assert "001-a.yaml" in row.said
    assert str(tmp_path) not in row.said


def test_the_wrong_that_an_exit_code_vouches_for_are_counted(judged):
    rows = [judged(), judged(context=1024), judged(CONFIG + "device = 'mps'\n", context=1024)]
    found = counts(rows)
    assert (found["files"], found["right"], found["wrong"], found["wrong with exit 0 or 3"]) == (3, 1, 2, 1)


def test_the_labels_of_a_folder_are_by_half(tmp_path):
    (tmp_path / "dev.jsonl").write_text('{"id": "001"}\n{"id": "002"}\n', encoding="utf-8")
    (tmp_path / "heldout.jsonl").write_text('{"id": "003"}\n', encoding="utf-8")
    assert [(label["id"], label["half"]) for label in labels(tmp_path, "heldout")] == [("003", "heldout")]
    assert len(labels(tmp_path)) == 3


def test_the_labels_kept_here_say_where_each_file_is_from(tmp_path):
    kept = labels(tmp_path)
    assert len({label["id"] for label in kept}) == len(kept) == len(LABELS.read_text(encoding="utf-8").splitlines())
    for label in kept:
        assert re.fullmatch("[0-9a-f]{64}", label["sha256"])
        assert label["half"] in {"dev", "heldout", "third"}
        assert {*COMPARED, "judgeable"} <= label["truth"].keys()
        assert (label["repo"] is None) == (label["commit"] is None)
        assert None not in [label["truth"][key] for key in COMPARED] or not label["truth"]["judgeable"]
