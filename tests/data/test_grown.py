"""A finished set goes on when files are added behind its own: the same bytes as anew, and only these are tokenized."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from fwplan.data import prepare as prepare_module
from fwplan.data import staging
from fwplan.data.inspect import inspect
from fwplan.data.prepare import prepare
from fwplan.data.shards import READING
from fwplan.errors import FwplanError
from fwplan.locks import LOCK


def contents(folder):
    assert not (folder / ".partial").exists()
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def tokenized(monkeypatch):
    """Return the names of the files whose windows were encoded, as they are."""
    names, real = [], prepare_module.ordered_map

    def watched(function, tasks, workers):
        tasks = list(tasks)
        names.extend(task.window.group.path.name for task in tasks)
        return real(function, tasks, workers)

    monkeypatch.setattr(prepare_module, "ordered_map", watched)
    return names


@pytest.fixture
def finished(write, make_texts, tmp_path):
    """Return a function that finishes a set of in/b.parquet, then adds in/c.parquet; it returns the set."""

    def finish(**options):
        write([*make_texts(57), None, "", "ab"], name="in/b.parquet", language_score=pa.array([0.4, 0.9] * 30))
        prepare(tmp_path / "in", tmp_path / "set", **options)
        write(make_texts(25, seed=1), name="in/c.parquet", language_score=pa.array([0.9] * 25))
        return tmp_path / "set"

    return finish


@pytest.mark.parametrize(
    "options",
    [
        {"val_fraction": 0.2},
        {"val_fraction": 0.0, "min_language_score": 0.5},
        {"format": "npy", "val_fraction": 0.1},
        {"format": "npy", "tokenizer": "bytes", "shard_tokens": 1000, "val_fraction": 0.2, "workers": 2},
        *(
            {"format": kind, "shard_tokens": n, "val_fraction": 0.2}
            for kind in ("llmc", "npy")
            for n in (64, 701, 2000)
        ),
    ],
    ids=str,
)
def test_only_the_new_files_are_tokenized_to_the_same_bytes(write, make_texts, tmp_path, finished, tokenized, options):
    out = finished(**options)
    for name, seed in (("c", 1), ("d", 2)):
        if name == "d":
            write(make_texts(31, seed=2), name="in/d.parquet", language_score=pa.array([None] + [0.9] * 30))
        tokenized.clear()
        prepare(tmp_path / "in", out, **options)
        assert set(tokenized) == {f"{name}.parquet"}, seed
        prepare(tmp_path / "in", tmp_path / f"anew-{name}" / "set", **options)
        assert contents(out) == contents(tmp_path / f"anew-{name}" / "set")
    assert "SHA-256 of each file" in inspect(out).checked


@pytest.mark.parametrize("boundary", range(-1, 2))
def test_a_set_that_just_fills_its_shards_goes_on(write, make_texts, tmp_path, tokenized, boundary):
    texts = make_texts(20)
    write(texts, name="in/b.parquet")
    tokens = prepare(tmp_path / "in", tmp_path / "measure", val_fraction=0, format="npy").train_tokens
    options = {"val_fraction": 0, "format": "npy", "shard_tokens": (tokens + 2) // 3 + boundary}
    prepare(tmp_path / "in", tmp_path / "set", **options)
    write(make_texts(20, seed=1), name="in/c.parquet")
    tokenized.clear()
    prepare(tmp_path / "in", tmp_path / "set", **options)
    assert set(tokenized) == {"c.parquet"}
    prepare(tmp_path / "in", tmp_path / "anew" / "set", **options)
    assert contents(tmp_path / "set") == contents(tmp_path / "anew" / "set")


def test_moved_files_are_the_same_files(tmp_path, finished, tokenized):
    out, notes = finished(), []
    tokenized.clear()
    (tmp_path / "in").rename(tmp_path / "moved")
    prepare(tmp_path / "moved", out, note=notes.append)
    assert "going on after the 60 of 85 rows that are finished" in notes
    assert set(tokenized) == {"c.parquet"}


def flip(path, at=-3):
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def edit(out, change):
    meta = json.loads((out / "meta.json").read_text())
    change(meta)
    (out / "meta.json").write_text(json.dumps(meta))


@pytest.mark.parametrize(
    ("harm", "options", "said"),
    [
        (lambda out: flip(out / "train.bin"), {}, "train.bin is not what was written"),
        (lambda out: flip(out / "val.bin", 0), {}, "val.bin is not what was written"),
        (lambda out: flip(out / "ends" / "val.i64"), {}, "val.i64 is not what was written"),
        (lambda out: os.truncate(out / "ends" / "train.i64", 13), {}, "train.i64 is not what was written"),
        (lambda out: (out / "ends" / "val.i64").unlink(), {}, "val.i64 cannot be read (No such file or directory)"),
        (lambda out: (out / "train.bin").unlink(), {}, "cannot open train.bin: No such file or directory"),
        (lambda out: edit(out, lambda m: m.pop("threshold")), {}, "an earlier fwplan recorded too little of it"),
        (lambda out: edit(out, lambda m: m.update(threshold=5)), {}, "there were too few documents in it to divide"),
        (lambda out: edit(out, lambda m: m.update(rows=59)), {}, "its meta.json does not add up"),
        (lambda out: edit(out, lambda m: m.pop("splits")), {}, "its meta.json does not add up"),
        (lambda out: shutil.copy(out / "../in/c.parquet", out / "../in/a.parquet"), {}, "file 1 is another now"),
        (lambda out: shutil.copy(out / "../in/c.parquet", out / "../in/b.parquet"), {}, "file 1 is another now"),
        (lambda _: None, {"dedup": True}, "the digests that tell duplicates were not kept"),
    ],
)
def test_what_cannot_be_trusted_is_said_and_begun_anew(tmp_path, finished, harm, options, said):
    options, notes = {"val_fraction": 0.2} | options, []
    out = finished(**options)
    harm(out)
    prepare(tmp_path / "in", out, note=notes.append, **options)
    assert f"what was finished cannot be added to, for {said}: starting again" in notes
    prepare(tmp_path / "in", tmp_path / "anew" / "set", **options)
    assert contents(out) == contents(tmp_path / "anew" / "set")


def test_a_file_that_was_taken_away_is_said(tmp_path, finished):
    out, notes = finished(), []
    prepare(tmp_path / "in", out)
    (tmp_path / "in" / "c.parquet").unlink()
    prepare(tmp_path / "in", out, note=notes.append)
    assert "what was finished cannot be added to, for file 2 is gone: starting again" in notes
    prepare(tmp_path / "in", tmp_path / "anew" / "set")
    assert contents(out) == contents(tmp_path / "anew" / "set")


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_split_that_few_documents_forced_is_not_gone_on_with(write, make_texts, tmp_path, count):
    write([f"text {n}" for n in range(count)], name="in/b.parquet")
    prepare(tmp_path / "in", tmp_path / "set", val_fraction=1e-9)
    write(make_texts(40), name="in/c.parquet")
    notes = []
    prepare(tmp_path / "in", tmp_path / "set", val_fraction=1e-9, note=notes.append)
    assert any("there were too few documents in it to divide: starting again" in note for note in notes)
    prepare(tmp_path / "in", tmp_path / "anew" / "set", val_fraction=1e-9)
    assert contents(tmp_path / "set") == contents(tmp_path / "anew" / "set")


def test_interrupted_behind_a_finished_set_that_stays_whole(tmp_path, finished, monkeypatch):
    out, calls, notes = finished(), [], []
    before = contents(out)

    def progress(_done, _total):
        calls.append(1)
        if len(calls) > 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(staging, "COMMIT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", out, progress=progress)
    staged = out / ".partial"
    assert {path: (out / path).read_bytes() for path in before} == before
    assert staged.exists()
    prepare(tmp_path / "in", out, note=notes.append)
    assert "going on after 80 of 85 rows" in notes
    prepare(tmp_path / "in", tmp_path / "anew" / "set")
    assert contents(out) == contents(tmp_path / "anew" / "set")


def test_work_on_something_else_does_not_hide_what_is_finished(tmp_path, finished, tokenized):
    out, notes = finished(val_fraction=0.2), []

    def progress(done, _total):
        if done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path / "in", out, val_fraction=0.4, progress=progress)
    tokenized.clear()
    prepare(tmp_path / "in", out, val_fraction=0.2, note=notes.append)
    assert notes[-1] == "going on after the 60 of 85 rows that are finished"
    assert set(tokenized) == {"c.parquet"}
    prepare(tmp_path / "in", tmp_path / "anew" / "set", val_fraction=0.2)
    assert contents(out) == contents(tmp_path / "anew" / "set")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_what_stops_the_copying_leaves_the_finished_set_as_it_was(tmp_path, finished, monkeypatch, error):
    out = finished(val_fraction=0.2)
    before, real = contents(out), staging.SplitFiles.append

    def failing(files, tokens, lengths):
        if files.split == "val" and len(tokens):
            raise error
        real(files, tokens, lengths)

    with monkeypatch.context() as patch:
        patch.setattr(staging.SplitFiles, "append", failing)
        with pytest.raises((FwplanError, KeyboardInterrupt)):
            prepare(tmp_path / "in", out, val_fraction=0.2)
    assert contents(out) == before  # and nothing staged takes up room
    prepare(tmp_path / "in", out, val_fraction=0.2)
    prepare(tmp_path / "in", tmp_path / "anew" / "set", val_fraction=0.2)
    assert contents(out) == contents(tmp_path / "anew" / "set")


@pytest.mark.parametrize("options", [{}, {"format": "npy", "shard_tokens": 701}], ids=["nanogpt", "npy"])
def test_whatever_moment_it_is_killed_at_it_ends_in_the_same_bytes(tmp_path, finished, monkeypatch, options):
    options = {"val_fraction": 0.2, "workers": 1, "fast": False} | options
    out, kills = finished(**options), []

    def before_each(real):
        def call(*arguments, **keywords):  # what a SIGKILL here leaves: all that was handed to the system, no more
            kills.append(tmp_path / f"{len(kills)}" / "set")
            shutil.copytree(out, kills[-1])
            return real(*arguments, **keywords)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(staging, "COMMIT_SECONDS", 0.0)
        for owner, name in ((os, "fsync"), (os, "replace"), (Path, "replace"), (Path, "unlink")):
            patch.setattr(owner, name, before_each(getattr(owner, name)))
        for owner, name in ((staging.SplitFiles, "append"), (staging.Staging, "mark"), (shutil, "rmtree")):
            patch.setattr(owner, name, before_each(getattr(owner, name)))
        prepare(tmp_path / "in", out, **options)
    prepare(tmp_path / "in", tmp_path / "anew" / "set", **options)
    anew, going_on = contents(tmp_path / "anew" / "set"), set()
    for killed in kills:
        if not (killed / ".partial" / "publish.json").exists():
            assert inspect(killed).shards.documents  # the finished set is whole until what replaces it is
        notes = []
        prepare(tmp_path / "in", killed, note=notes.append, **options)
        assert {path: data for path, data in contents(killed).items() if path.name not in {LOCK, READING}} == anew
        going_on |= set(notes)
    assert {f"going on after {n} of 85 rows" for n in (60, 70, 80, 85)} < going_on
    assert "going on after the 60 of 85 rows that are finished" in going_on
