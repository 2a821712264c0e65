"""What other trainers check when they read their own formats, and that theirs are read here."""

from __future__ import annotations

import hashlib
from itertools import pairwise

import numpy as np
import pytest

from fwplan.data import formats
from fwplan.data.formats import header
from fwplan.data.gpt2 import END_OF_TEXT, gpt2_encoding
from fwplan.data.prepare import prepare
from fwplan.data.publish import dataset_name
from fwplan.data.shards import is_token_folder, open_shards
from fwplan.errors import FwplanError


def llmc_reads(path):
    """Return a file's tokens after the checks of llm.c's dataloader and of modded-nanogpt."""
    fields = np.fromfile(path, "<i4", count=256)
    assert (fields[0], fields[1]) == (20240520, 1)
    assert path.stat().st_size == 256 * 4 + int(fields[2]) * 2
    return np.fromfile(path, "<u2", offset=1024)


def build_nanogpt_reads(folder, split):
    """Return a split's shards as build-nanogpt's train_gpt2.py finds and loads them."""
    shards = sorted(name.name for name in folder.iterdir() if split in name.name)
    assert shards
    return [np.load(folder / name).astype(np.int32) for name in shards]


def concatenated(texts):
    """Return the documents' tokens with end-of-text before each."""
    encode = gpt2_encoding().encode_ordinary
    return [token for text in texts for token in (END_OF_TEXT, *encode(text))]


def test_llmc_shards_pass_its_readers_checks(write, make_texts, tmp_path):
    texts = make_texts(300)
    prepare(write(texts), tmp_path / "set", format="llmc", val_fraction=0, shard_tokens=1000)
    files = sorted((tmp_path / "set").glob("set_train_*.bin"))
    parts = [llmc_reads(path) for path in files]
    assert [path.name for path in files] == [f"set_train_{n:06d}.bin" for n in range(len(files))]
    assert np.concatenate(parts).tolist() == concatenated(texts)
    assert {len(part) for part in parts[:-2]} == {1000}
    assert min(len(part) for part in parts) >= 500  # none too short for a batch
    assert max(len(part) for part in parts) == 1000


def test_npy_shards_are_what_numpy_writes_and_build_nanogpt_loads(write, make_texts, tmp_path):
    texts = make_texts(200)
    shards = prepare(write(texts), tmp_path / "set", format="npy", val_fraction=0.2, shard_tokens=900)
    for split in ("train", "val"):
        parts = build_nanogpt_reads(tmp_path / "set", split)
        assert sum(map(len, parts)) == shards.tokens(split)
        for file in shards.files[split]:
            np.save(tmp_path / "again.npy", np.load(file.path))
            assert (tmp_path / "again.npy").read_bytes() == file.path.read_bytes()
    assert sum(shards.documents.values()) == 200


def test_few_tokens_still_give_a_train_shard(write, tmp_path):
    shards = prepare(write(["one short text", "and another"]), tmp_path / "set", format="npy")
    assert (len(shards.files["train"]), len(shards.files["val"])) == (1, 1)
    assert shards.files["train"][0].tokens > 0


@pytest.mark.parametrize("kind", ["nanogpt", "llmc", "npy"])
def test_the_three_formats_hold_the_same_documents(write, make_texts, tmp_path, kind):
    texts = make_texts(100)
    shards = prepare(write(texts), tmp_path / "set", format=kind, val_fraction=0.1)
    again = open_shards(tmp_path / "set")
    found = []
    for split in ("train", "val"):
        tokens, starts = again.sequence(split), [0, *again.ends(split).tolist()]
        for start, stop in pairwise(starts):
            ids = tokens[start:stop].tolist()
            assert ids.count(END_OF_TEXT) == 1
            assert ids[-1 if kind == "nanogpt" else 0] == END_OF_TEXT
            found.append(gpt2_encoding().decode([i for i in ids if i != END_OF_TEXT]))
    assert sorted(found) == sorted(texts)
    assert again == shards


@pytest.mark.parametrize("kind", ["nanogpt", "llmc", "npy"])
def test_what_was_brought_from_elsewhere_is_read_without_meta_json(write, make_texts, tmp_path, kind):
    ours = prepare(write(make_texts(100)), tmp_path / "set", format=kind, val_fraction=0.2)
    ends = {split: ours.ends(split).tolist() for split in ("train", "val")}
    (tmp_path / "set" / "meta.json").unlink()
    assert is_token_folder(tmp_path / "set")
    found = open_shards(tmp_path / "set")
    assert (found.format, found.vocab_size, found.documents, found.meta) == (kind, None, None, None)
    for split in ("train", "val"):
        assert np.array_equal(found.sequence(split)[:], ours.sequence(split)[:])
        assert found.ends(split).tolist() == ends[split]


def test_windows_run_over_the_borders_of_shards(write, make_texts, tmp_path):
    texts = make_texts(100)
    prepare(write(texts), tmp_path / "set", format="llmc", val_fraction=0, shard_tokens=500)
    tokens, expected = open_shards(tmp_path / "set").sequence("train"), concatenated(texts)
    assert len(tokens) == len(expected)
    for start in range(0, len(expected) - 700, 13):
        assert tokens[start : start + 700].tolist() == expected[start : start + 700]
    assert tokens[len(expected) :].tolist() == []
    assert np.concatenate(list(tokens.chunks(64))).tolist() == expected


@pytest.mark.parametrize("kind", ["nanogpt", "llmc", "npy"])
@pytest.mark.parametrize("cut", [1, 2, 100])
def test_a_truncated_file_is_refused_and_never_read_as_zeros(write, texts, tmp_path, kind, cut):
    prepare(write(texts), tmp_path / "set", format=kind)
    path = open_shards(tmp_path / "set").files["train"][0].path
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with pytest.raises(FwplanError, match=rf"{path.name} is [\d,]+ bytes; meta.json says [\d,]+"):
        open_shards(tmp_path / "set")
    (tmp_path / "set" / "meta.json").unlink()
    if kind != "nanogpt" or cut % 2:  # a raw file of whole tokens cannot be told from a shorter one
        with pytest.raises(FwplanError, match=path.name):
            open_shards(tmp_path / "set")


@pytest.mark.parametrize("array", [np.zeros(4, "i8"), np.zeros((2, 2), "u2"), np.zeros(3, ">u2")])
def test_an_array_that_is_no_tokens_is_refused(tmp_path, array):
    np.save(tmp_path / "a_train_0.npy", array)
    with pytest.raises(FwplanError, match="no npy token file"):
        open_shards(tmp_path)


def test_a_damaged_llmc_header_is_refused(tmp_path):
    fields = np.frombuffer(header("llmc", 3, np.dtype("<u2")), "<i4").copy()
    fields[1] = 9
    (tmp_path / "x_train_0.bin").write_bytes(fields.tobytes() + bytes(6))
    with pytest.raises(FwplanError, match="version 9"):
        open_shards(tmp_path)


def test_wide_vocabularies_have_wide_headers():
    assert len(header("npy", 10**12, np.dtype("<u4"))) == len(header("npy", 1, np.dtype("<u2"))) == 128
    assert np.frombuffer(header("llmc", 7, np.dtype("<u4")), "<i4")[:3].tolist() == [20240801, 7, 7]


@pytest.mark.parametrize(
    ("name", "called"),
    [("fineweb", "fineweb"), ("fine web!", "fine-web"), ("train-set", "tokens"), ("eval", "tokens"), ("--", "tokens")],
)
def test_no_shards_name_can_be_taken_for_a_split(tmp_path, name, called):
    assert dataset_name(tmp_path / name) == called


def test_a_setting_that_a_format_cannot_have_is_refused(write, texts, tmp_path):
    with pytest.raises(FwplanError, match=r"nanoGPT reads one train\.bin"):
        prepare(write(texts), tmp_path / "out", shard_tokens=1000)
    with pytest.raises(FwplanError, match="shard_tokens must be 1 to"):
        prepare(write(texts), tmp_path / "out", format="npy", shard_tokens=0)
    with pytest.raises(FwplanError, match="unknown format 'megatron'"):
        prepare(write(texts), tmp_path / "out", format="megatron")
    assert not (tmp_path / "out").exists()


def test_another_format_in_the_same_folder_takes_the_place_of_the_first(write, texts, tmp_path):
    for kind in ("npy", "nanogpt", "llmc"):
        prepare(write(texts), tmp_path / "set", format=kind)
    names = sorted(path.name for path in (tmp_path / "set").iterdir())
    assert names == ["ends", "meta.json", "set_train_000000.bin", "set_val_000000.bin"]


def test_a_folder_of_parquet_is_no_folder_of_tokens(write, texts, tmp_path):
    write(texts)
    assert not is_token_folder(tmp_path)
    assert not is_token_folder(tmp_path / "data.parquet")


def test_the_formats_are_told_apart_by_words_of_a_name(tmp_path):
    np.save(tmp_path / "evaluation_train_000.npy", np.arange(9, dtype=np.uint16))
    np.save(tmp_path / "evaluation_val_000.npy", np.arange(5, dtype=np.uint16))
    assert [open_shards(tmp_path).tokens(split) for split in formats.SPLITS] == [9, 5]


def test_the_sha256_of_all_is_of_the_files_hashes(write, texts, tmp_path):
    meta = prepare(write(texts), tmp_path / "set", format="npy", shard_tokens=800).meta
    files = [file for split in ("train", "val") for file in meta["splits"][split]["files"]]
    for file in files:
        assert file["sha256"] == hashlib.sha256((tmp_path / "set" / file["name"]).read_bytes()).hexdigest()
    assert meta["sha256"] == hashlib.sha256("".join(file["sha256"] for file in files).encode()).hexdigest()
