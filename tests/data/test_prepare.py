from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

from fwplan.data import prepare as prepare_module
from fwplan.data import staging
from fwplan.data.encode import HASH_SPAN, text_hash
from fwplan.data.gpt2 import END_OF_TEXT, gpt2_encoding
from fwplan.data.parquet import open_sources, windows
from fwplan.data.prepare import needed_bytes, prepare
from fwplan.data.shards import open_shards
from fwplan.data.tokenizer import load_tokenizer
from fwplan.errors import FwplanError


def documents(shards, split):
    """Return a split's documents as lists of tokens, without end-of-text."""
    tokens = shards.sequence(split)[:]
    ends = np.flatnonzero(tokens == END_OF_TEXT)
    assert not len(tokens) or ends[-1] == len(tokens) - 1
    return [part[:-1].tolist() for part in np.split(tokens, ends + 1)[:-1]]


def contents(folder):
    """Return a folder's files with their bytes; a staging folder left for the next attempt stands for itself."""
    partial = {".partial": True} if (folder / ".partial").exists() else {}
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    return partial | {name: path.read_bytes() for name, path in files.items() if not name.startswith(".partial")}


def test_each_document_is_in_one_split_and_has_the_tokens_of_tiktoken(write, texts, tmp_path):
    texts[7] = "a literal <|endoftext|> inside"
    shards = prepare(write(texts), tmp_path / "out", val_fraction=0.2)
    val = [text for text in texts if text_hash(text) < 0.2 * HASH_SPAN]
    train = [text for text in texts if text not in val]
    encode = gpt2_encoding().encode_ordinary
    assert documents(shards, "train") == [encode(text) for text in train]
    assert documents(shards, "val") == [encode(text) for text in val]
    assert (shards.documents["train"], shards.documents["val"]) == (len(train), len(val))


def test_two_workers_write_the_same_bytes_as_one(write, tmp_path, make_texts):
    texts = make_texts(300)
    source = write(texts, token_count=pa.array([5] * 300))
    prepare(source, tmp_path / "one", workers=1)
    prepare(source, tmp_path / "two", workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_meta_says_what_is_there(write, texts, tmp_path):
    source = write([*texts, None, ""], token_count=pa.array([10] * 60 + [0, 0]))
    shards = prepare(source, tmp_path / "out", val_fraction=0.1)
    meta = json.loads((tmp_path / "out/meta.json").read_text())
    for split in ("train", "val"):
        data = (tmp_path / f"out/{split}.bin").read_bytes()
        (entry,) = meta["splits"][split]["files"]
        sha256 = hashlib.sha256(data).hexdigest()
        assert entry == {"name": f"{split}.bin", "tokens": len(data) // 2, "sha256": sha256}
        assert meta["splits"][split]["tokens"] * 2 == len(data)
    assert meta["splits"]["train"]["documents"] + meta["splits"]["val"]["documents"] == 60
    assert (meta["schema_version"], meta["dtype"], meta["val_fraction"]) == (2, "uint16", 0.1)
    assert meta["tokenizer"]["name"] == "gpt2"
    (entry,) = meta["sources"]
    assert (entry["path"], entry["size"], entry["rows"]) == (str(source.resolve()), source.stat().st_size, 62)
    assert (entry["row_groups"], len(entry["footer_sha256"])) == (7, 64)
    assert (meta["rows"], meta["left_out"]) == (62, {"empty": 2, "low_score": 0, "duplicates": 0})
    assert meta["declared_tokens"] == 660
    assert len(shards.ends("train")) + len(shards.ends("val")) == 60


def test_more_files_move_no_document_between_splits(write, tmp_path, make_texts):
    write(make_texts(200, seed=1), name="in/b.parquet")
    first = prepare(tmp_path / "in", tmp_path / "first", val_fraction=0.1)
    write(make_texts(200, seed=2), name="in/a.parquet")
    second = prepare(tmp_path / "in", tmp_path / "second", val_fraction=0.1)
    before = {tuple(tokens) for tokens in documents(first, "val")}
    after = {tuple(tokens) for tokens in documents(second, "val")}
    assert before < after
    assert not after & {tuple(tokens) for tokens in documents(first, "train")}


def test_one_document_trains(write, tmp_path):
    for number in range(20):  # by hash alone, half of these would be for validation
        shards = prepare(write([f"text {number}"], name=f"{number}.parquet"), tmp_path / f"{number}", val_fraction=0.5)
        assert (shards.documents["train"], shards.documents["val"]) == (1, 0)


@pytest.mark.parametrize("val_fraction", [1e-9, 0.5, 1 - 1e-9])
def test_two_documents_give_each_split_one(write, tmp_path, val_fraction):
    shards = prepare(write(["first", "second"]), tmp_path / "out", val_fraction=val_fraction)
    assert (shards.documents["train"], shards.documents["val"]) == (1, 1)
    assert sorted(documents(shards, "train") + documents(shards, "val")) == sorted(
        gpt2_encoding().encode_ordinary(text) for text in ("first", "second")
    )
    splits = json.loads((tmp_path / "out/meta.json").read_text())["splits"]
    for split in ("train", "val"):  # also where the first attempt was thrown away
        assert (
            splits[split]["files"][0]["sha256"]
            == hashlib.sha256((tmp_path / f"out/{split}.bin").read_bytes()).hexdigest()
        )


def test_identical_documents_stay_together(write, tmp_path):
    shards = prepare(write(["same"] * 5), tmp_path / "out", val_fraction=0.999)
    assert (shards.documents["train"], shards.documents["val"]) == (5, 0)


def test_no_validation_when_none_is_asked_for(write, texts, tmp_path):
    shards = prepare(write(texts), tmp_path / "out", val_fraction=0)
    assert (shards.documents["train"], shards.val_tokens) == (60, 0)


def test_nothing_but_nulls_is_an_error_and_leaves_nothing(write, tmp_path):
    with pytest.raises(FwplanError, match="each of 3 rows is null or empty"):
        prepare(write([None, "", None]), tmp_path / "out")
    assert not (tmp_path / "out" / ".partial").exists()
    assert contents(tmp_path / "out") == {}


def test_progress_ends_at_the_total(write, texts, tmp_path):
    calls = []
    prepare(write(texts), tmp_path / "out", val_fraction=0.2, progress=lambda *call: calls.append(call))
    done, totals = zip(*calls, strict=True)
    assert len(calls) == 7  # at the start and after each row group
    assert list(done) == sorted(done)
    assert set(totals) == {done[-1]}


def test_the_same_again_is_not_done_again(write, texts, tmp_path, monkeypatch):
    source = write(texts)
    first = prepare(source, tmp_path / "out")
    monkeypatch.setattr(prepare_module, "Staging", None)  # any use of it fails
    assert prepare(source, tmp_path / "out") == first


@pytest.mark.parametrize("change", ["source", "val_fraction", "truncated", "meta"])
def test_anything_else_is_done_again(write, texts, tmp_path, change):
    source, out = write(texts), tmp_path / "out"
    prepare(source, out, val_fraction=0.2)
    before = contents(out)
    if change == "source":
        write([*texts[:-1], "x" * len(texts[-1])])
    elif change == "truncated":
        (out / "train.bin").write_bytes(before["train.bin"][:-2])
    elif change == "meta":
        (out / "meta.json").write_text("{")
    prepare(source, out, val_fraction=0.5 if change == "val_fraction" else 0.2)
    assert (contents(out) == before) == (change in {"truncated", "meta"})
    assert open_shards(out).train_tokens * 2 == len((out / "train.bin").read_bytes())


def test_the_documents_of_another_column_are_other_documents(write, texts, tmp_path):
    other = [f"{text} once more" for text in texts]
    path = write(texts, content=pa.array(other))
    named = prepare(path, tmp_path / "out", text_column="content", val_fraction=0)
    again = prepare(path, tmp_path / "out", val_fraction=0)
    assert again.meta == prepare(write(texts, content=pa.array(other)), tmp_path / "b", val_fraction=0).meta
    assert named.meta["text_column"] == "content"
    assert named.meta == prepare(path, tmp_path / "c", text_column="content", val_fraction=0).meta
    assert named.train_tokens != again.train_tokens


@pytest.mark.parametrize("workers", [1, 2])
def test_a_source_that_is_replaced_while_it_is_prepared_is_refused(write, make_texts, tmp_path, workers):
    path, other, calls = write(make_texts(400)), write(make_texts(400, seed=1), name="other.parquet"), []

    def replace(*_call):
        calls.append(1)
        if len(calls) == 4:
            other.replace(path)

    with pytest.raises(FwplanError, match=r"'data.parquet' was changed or replaced while it was in use"):
        prepare(path, tmp_path / "out", progress=replace, workers=workers)
    assert not (tmp_path / "out" / "meta.json").exists()
    made = prepare(path, tmp_path / "out", val_fraction=0)
    assert documents(made, "train") == [gpt2_encoding().encode_ordinary(text) for text in make_texts(400, seed=1)]


def test_a_half_written_attempt_is_replaced(write, texts, tmp_path):
    prepare(write(texts), tmp_path / "clean")
    out = tmp_path / "out"
    out.mkdir()
    (out / ".partial").mkdir()
    for name in ("train.000000", "val.ends", "state.json", "state.json.tmp", "stray"):
        (out / ".partial" / name).write_bytes(b"half" * 10_000)
    prepare(write(texts), out)
    assert contents(out) == contents(tmp_path / "clean")


def test_the_shards_of_another_program_are_not_overwritten(write, texts, tmp_path):
    (tmp_path / "val.bin").write_bytes(b"precious")
    with pytest.raises(FwplanError, match=r"val\.bin in .* was not written by fwplan"):
        prepare(write(texts), tmp_path)
    assert (tmp_path / "val.bin").read_bytes() == b"precious"


def test_too_little_disk_is_said_before_any_work(write, texts, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=100))
    with pytest.raises(FwplanError, match=r"needs .* \(1,800 bytes\), .* \(100 bytes\) free"):
        prepare(write(texts, token_count=pa.array([10] * 60)), tmp_path / "out")
    with pytest.raises(FwplanError, match="not enough disk"):
        prepare(write(texts, name="undeclared.parquet"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_room_asked_for_is_enough_for_undeclared_english(write, tmp_path):
    texts = ["It is said, and rightly so, that one learns to write by writing. " * 20 + str(n) for n in range(100)]
    source = write(texts)
    tokenizer, found = load_tokenizer(), windows(open_sources(source))
    shards = prepare(source, tmp_path / "out")
    written = sum(len(data) for name, data in contents(tmp_path / "out").items() if name != "meta.json")
    assert written <= needed_bytes(found, tokenizer, None)
    assert written <= needed_bytes(found, tokenizer, shards.train_tokens + shards.val_tokens)


@pytest.mark.parametrize("when", [1, 3, 8, 20])  # the first record is complete with the sixth call
def test_a_disk_that_fills_up_loses_nothing_and_the_work_goes_on(write, texts, tmp_path, monkeypatch, when):
    source, out = write(texts), tmp_path / "out"
    prepare(source, out)
    before, real, calls = contents(out), os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) >= when:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(staging, "COMMIT_SECONDS", 0.0)
    with monkeypatch.context() as disk:
        disk.setattr(staging.os, "fsync", full)
        with pytest.raises(FwplanError, match=r"the disk filled up while writing to .*out") as caught:
            prepare(source, out, val_fraction=0.3)
    assert "the same command then goes on" in caught.value.hint
    assert {name: data for name, data in contents(out).items() if name != ".partial"} == before
    notes = []
    prepare(source, out, val_fraction=0.3, note=notes.append)
    assert any("going on after" in note for note in notes) == (when > 6)
    prepare(source, tmp_path / "clean", val_fraction=0.3)
    assert contents(out) == contents(tmp_path / "clean")


def test_an_output_that_is_a_file_is_one_clear_error(write, texts, tmp_path):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(FwplanError, match=r"cannot write to .*out"):
        prepare(write(texts), tmp_path / "out")


def test_a_corrupt_page_in_a_worker_is_one_clear_error_and_leaves_nothing(write, texts, tmp_path):
    path = write(texts)
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 300] = b"\xff" * 300
    path.write_bytes(data)
    with pytest.raises(FwplanError, match=r"cannot read 'data.parquet' as parquet") as caught:
        prepare(path, tmp_path / "out", workers=2)
    assert caught.value.where == str(path.resolve())
    assert set(contents(tmp_path / "out")) <= {".partial"}
    write(texts)  # downloaded again
    prepare(path, tmp_path / "out")
    prepare(path, tmp_path / "clean")
    assert contents(tmp_path / "out") == contents(tmp_path / "clean")


@pytest.mark.parametrize("options", [{"val_fraction": 1}, {"val_fraction": -0.1}, {"workers": 0}])
def test_a_setting_out_of_range_is_repeated(write, texts, tmp_path, options):
    ((name, value),) = options.items()
    with pytest.raises(FwplanError, match=f"{name} must be .*{value}"):
        prepare(write(texts), tmp_path / "out", **options)


def test_workers_default_to_what_the_work_is_worth(write, texts, monkeypatch):
    groups = windows(open_sources(write(texts)))
    monkeypatch.setattr(prepare_module, "cpus", lambda: 4)
    assert prepare_module._worker_count(None, groups) == 1  # a few kilobytes
    monkeypatch.setattr(prepare_module, "_BYTES_PER_WORKER", 1)
    assert prepare_module._worker_count(None, groups) == 4
    assert prepare_module._worker_count(100, groups) == 6  # one per row group
