"""What people's files really are: damaged, odd, tiny, huge. Nothing is lost, nothing half-written, one clear error."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import END_OF_TEXT, gpt2_encoding
from fwplan.data.prepare import prepare
from fwplan.errors import FwplanError


def truncate(path):
    path.write_bytes(path.read_bytes()[:-500])


def bad_footer(path):
    data = bytearray(path.read_bytes())
    data[-120:-40] = b"\xff" * 80
    path.write_bytes(data)


def bad_page(path):
    data = bytearray(path.read_bytes())
    data[40:400] = b"\xff" * 360
    path.write_bytes(data)


def no_column(path):
    pq.write_table(pa.table({"content": ["a"]}), path)


def no_rows(path):
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), path)


def no_bytes(path):
    path.write_bytes(b"")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("damage", [truncate, bad_footer, bad_page, no_column, no_rows, no_bytes])
def test_a_damaged_file_is_one_clear_error_that_names_it(write, make_texts, tmp_path, damage, workers):
    path = write(make_texts(100), name="in/b.parquet", group_rows=20)
    damage(path)
    with pytest.raises(FwplanError) as caught:
        prepare(path.parent, tmp_path / "out", workers=workers)
    assert caught.value.where == str(path.resolve())
    assert caught.value.hint
    assert not (tmp_path / "out" / "meta.json").exists()
    assert not list((tmp_path / "out").glob("*.bin"))


def test_a_damaged_file_among_good_ones_is_named_before_any_work_where_its_footer_tells(write, make_texts, tmp_path):
    write(make_texts(50), name="in/a.parquet")
    truncate(write(make_texts(50), name="in/b.parquet"))
    with pytest.raises(FwplanError, match=r"b\.parquet"):
        prepare(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_strings_of_either_kind_and_nulls(write, texts, tmp_path, kind):
    shards = prepare(write([*texts, None, ""], kind=kind), tmp_path / "out", workers=2)
    assert sum(shards.documents.values()) == 60
    assert shards.meta["left_out"]["empty"] == 2


def test_documents_out_and_left_out_are_the_rows_in(write, make_texts, tmp_path):
    texts = make_texts(150)
    scores = pa.array([None if n % 13 == 0 else n / 170 for n in range(171)], pa.float64())
    source = write([*texts, *texts[100:120], None], group_rows=11, language_score=scores)
    meta = prepare(source, tmp_path / "out", workers=2, dedup=True, min_language_score=0.2, val_fraction=0.1).meta
    documents = sum(split["documents"] for split in meta["splits"].values())
    assert documents + sum(meta["left_out"].values()) == meta["rows"] == 171
    assert all(meta["left_out"].values())


def test_one_document_larger_than_any_window(write, tmp_path):
    giant = "All work and no play makes Jack a dull boy. " * 240_000  # 10 MB: as 50, but quick
    shards = prepare(write(["before", giant, "after"], group_rows=3), tmp_path / "out", val_fraction=0, workers=1)
    starts = [0, *shards.ends("train").tolist()]
    assert shards.documents["train"] == 3
    tokens = shards.sequence("train")[starts[1] : starts[2]].tolist()
    assert tokens[-1] == END_OF_TEXT
    assert tokens[:-1] == gpt2_encoding().encode_ordinary(giant)


def test_a_literal_end_of_text_is_text(write, tmp_path):
    shards = prepare(write(["a<|endoftext|>b", "c"]), tmp_path / "out", val_fraction=0, workers=1)
    assert shards.sequence("train")[:].tolist().count(END_OF_TEXT) == 2


def test_edu_columns_and_a_missing_date_are_fine(write, texts, tmp_path):
    source = write(texts, score=pa.array([3.1] * 60), int_score=pa.array([3] * 60), id=pa.array(["x"] * 60))
    assert sum(prepare(source, tmp_path / "out").documents.values()) == 60
    assert count_tokens(source).documents == 60


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "other_train_000000.npy"])
def test_foreign_tokens_are_not_overwritten(write, texts, tmp_path, name):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_bytes(b"precious")
    with pytest.raises(FwplanError, match="was not written by fwplan"):
        prepare(write(texts), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == [name]


def test_the_declared_and_the_counted_differ_and_it_is_said(write, texts, tmp_path):
    counts = [len(gpt2_encoding().encode_ordinary(text)) for text in texts]
    counts[5] += 98
    shards = prepare(write(texts, token_count=pa.array(counts)), tmp_path / "out")
    assert shards.meta["declared_tokens"] == shards.train_tokens + shards.val_tokens + 98


def test_moving_the_sources_makes_nothing_again(write, texts, tmp_path):
    source = write(texts)
    before = prepare(source, tmp_path / "out").meta
    (tmp_path / "elsewhere").mkdir()
    moved = source.rename(tmp_path / "elsewhere" / source.name)
    assert prepare(moved, tmp_path / "out").meta == before
