from __future__ import annotations

import json

import numpy as np
import pytest

from fwplan.data.inspect import inspect
from fwplan.data.prepare import prepare
from fwplan.errors import FwplanError


@pytest.mark.parametrize("kind", ["nanogpt", "llmc", "npy"])
def test_it_says_what_is_there_and_shows_some_of_it(write, texts, tmp_path, kind):
    shards, calls = prepare(write(texts), tmp_path / "set", format=kind, val_fraction=0.2), []
    found = inspect(tmp_path / "set", progress=lambda *call: calls.append(call))
    assert found.splits["train"].documents + found.splits["val"].documents == 60
    assert found.splits["train"].tokens == shards.train_tokens
    assert found.splits["train"].largest_id == 50_256
    assert "SHA-256 of each file" in found.checked
    assert len(found.samples) == 3
    assert all(any(full.startswith(text[:50]) for full in texts) for _, _, text in found.samples)
    assert calls[-1][0] <= calls[-1][1]
    assert json.loads(json.dumps(found.as_dict()))["splits"]["val"]["documents"] == shards.documents["val"]


@pytest.mark.parametrize("kind", ["nanogpt", "npy"])
def test_what_came_from_elsewhere_is_inspected_too(write, texts, tmp_path, kind):
    prepare(write(texts), tmp_path / "set", format=kind, val_fraction=0.2)
    (tmp_path / "set" / "meta.json").unlink()
    found = inspect(tmp_path / "set")
    assert found.splits["train"].documents + found.splits["val"].documents == 60
    assert found.checked == ("sizes",)
    assert found.samples[0][2][:8] == "Document"


def test_tokens_of_another_tokenizer_are_no_traceback(tmp_path):
    np.arange(60_000, 60_100, dtype="<u2").tofile(tmp_path / "train.bin")
    assert "not GPT-2's tokens" in inspect(tmp_path).samples[0][2]


def test_a_changed_byte_is_found(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "set")
    data = bytearray((tmp_path / "set/train.bin").read_bytes())
    data[100] ^= 1
    (tmp_path / "set/train.bin").write_bytes(data)
    with pytest.raises(FwplanError, match=r"train\.bin is not what was written"):
        inspect(tmp_path / "set")


def test_an_index_that_does_not_fit_is_found(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "set")
    path = tmp_path / "set" / "ends" / "train.i64"
    ends = np.fromfile(path, "<i8")
    ends[3] += 1
    ends.tofile(path)
    with pytest.raises(FwplanError, match="the index of the train split does not fit"):
        inspect(tmp_path / "set")
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(FwplanError, match=r"ends/train.i64 is [\d,]+ bytes; meta.json says"):
        inspect(tmp_path / "set")


def test_an_id_above_the_vocabulary_is_found(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "set")
    meta = json.loads((tmp_path / "set/meta.json").read_text())
    meta["tokenizer"]["vocab_size"] = 50_000
    (tmp_path / "set/meta.json").write_text(json.dumps(meta))
    with pytest.raises(FwplanError, match="holds id 50256, above its vocabulary of 50,000"):
        inspect(tmp_path / "set")
