from __future__ import annotations

import json

import numpy as np
import pytest

from fwplan.data.prepare import prepare
from fwplan.data.shards import open_shards
from fwplan.errors import FwplanError


@pytest.fixture
def folder(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "out", val_fraction=0.2)
    return tmp_path / "out"


def edit(folder, change):
    meta = json.loads((folder / "meta.json").read_text())
    change(meta)
    (folder / "meta.json").write_text(json.dumps(meta))


def test_the_map_is_the_file_read_only(folder):
    shards = open_shards(folder)
    tokens = shards.sequence("train")[:]
    assert tokens.dtype == np.uint16
    assert tokens.tobytes() == (folder / "train.bin").read_bytes()
    assert len(tokens) == shards.tokens("train") == shards.train_tokens
    assert len(shards.sequence("val")) == shards.tokens("val") == shards.val_tokens
    with pytest.raises(ValueError, match="read-only"):
        tokens[0] = 1


def test_an_empty_split_maps_to_nothing(write, tmp_path):
    shards = prepare(write(["one document"]), tmp_path / "one")
    assert shards.sequence("val")[:].shape == (0,)


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("change", [lambda data: data[:-2], lambda data: data + b"\0\0", lambda _: b""])
def test_a_file_of_the_wrong_size_is_refused(folder, split, change):
    path = folder / f"{split}.bin"
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(FwplanError, match=rf"{split}\.bin is [\d,]+ bytes; meta\.json says"):
        open_shards(folder)


def test_a_missing_file_is_refused(folder):
    (folder / "val.bin").unlink()
    with pytest.raises(FwplanError, match=r"cannot open val\.bin"):
        open_shards(folder)


def test_a_folder_without_meta_is_not_prepared(tmp_path):
    with pytest.raises(FwplanError, match="no tokens in"):
        open_shards(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "{}", '{"schema_version": 2}', "\ufffd\x00"])
def test_a_damaged_meta_is_one_clear_error(folder, content):
    (folder / "meta.json").write_text(content, encoding="utf-8")
    with pytest.raises(FwplanError, match=r"cannot use meta\.json"):
        open_shards(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda meta: meta.update(dtype="float16"),
        lambda meta: meta["splits"].pop("val"),
        lambda meta: meta.update(format="mp3"),
        lambda meta: meta["splits"]["train"]["files"][0].update(tokens="12"),
        lambda meta: meta["splits"]["train"]["files"][0].update(tokens=-1),
        lambda meta: meta["splits"]["train"]["files"][0].update(name="../../elsewhere.bin"),
        lambda meta: meta["splits"]["train"].update(documents=True),
        lambda meta: meta.update(splits=[]),
    ],
)
def test_a_wrong_meta_is_one_clear_error(folder, change):
    edit(folder, change)
    with pytest.raises(FwplanError, match=r"cannot use meta\.json"):
        open_shards(folder)


def test_a_newer_meta_asks_for_an_upgrade(folder):
    edit(folder, lambda meta: meta.update(schema_version=3))
    with pytest.raises(FwplanError, match="schema_version is 3") as caught:
        open_shards(folder)
    assert "upgrade" in caught.value.hint


def test_a_split_must_hold_one_sequence_and_its_target(folder):
    shards = open_shards(folder)
    shards.require("train", shards.train_tokens - 1)
    with pytest.raises(FwplanError, match=rf"the train split holds .* sequence_length {shards.train_tokens} needs"):
        shards.require("train", shards.train_tokens)
    with pytest.raises(FwplanError, match=r"the val split holds"):
        shards.require("val", 10**6)


def test_reading_shards_needs_numpy_only(modules_after):
    loaded = modules_after("import fwplan.data.shards")
    assert not {"torch", "pyarrow", "tiktoken"} & loaded
    assert "numpy" in loaded
