from __future__ import annotations

import dataclasses
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fwplan.data import parquet
from fwplan.data.parquet import WINDOW_ROWS, Window, open_sources, read_window, token_counts, windows
from fwplan.errors import FwplanError


def read(path):
    return [text for window in windows(open_sources(path)) for text in read_window(window).texts]


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string()])
def test_every_document_comes_back_in_order(write, texts, kind):
    assert read(write(texts, kind=kind)) == texts


def test_null_and_empty_texts_are_none(write):
    assert read(write(["a", None, "", "b"], group_rows=2)) == ["a", None, None, "b"]


def test_the_footer_tells_rows_groups_and_bytes(write, texts):
    (source,) = open_sources(write(texts, group_rows=25, token_count=pa.array(range(60))))
    assert source.rows == 60
    assert [group.rows for group in source.groups] == [25, 25, 10]
    assert source.has_token_count
    true_bytes = sum(len(text.encode()) for text in texts)
    assert sum(group.text_bytes for group in source.groups) == pytest.approx(true_bytes, rel=0.25)  # tiny groups
    assert token_counts(source).to_pylist() == list(range(60))


def test_the_footers_bytes_are_close_in_groups_of_fineweb_size(write, texts):
    long = [text * 20 for text in texts] * 20
    unique = [f"{n} {text}" for n, text in enumerate(long)]
    (source,) = open_sources(write(unique, group_rows=1000))
    true_bytes = sum(len(text.encode()) for text in unique)
    assert sum(group.text_bytes for group in source.groups) == pytest.approx(true_bytes, rel=0.03)


def test_a_token_count_that_is_no_integer_does_not_count(write):
    (source,) = open_sources(write(["a"], token_count=pa.array([1.0])))
    assert not source.has_token_count


def test_a_large_row_group_is_cut_and_read_once(write, monkeypatch):
    texts = [f"{n}" for n in range(2 * WINDOW_ROWS + 1)]
    path = write(texts, group_rows=10**6)
    found = windows(open_sources(path))
    assert [window.rows for window in found] == [WINDOW_ROWS, WINDOW_ROWS, 1]
    assert sum(window.text_bytes for window in found) == found[0].group.text_bytes
    passes = []
    original = pq.ParquetFile.iter_batches
    monkeypatch.setattr(
        pq.ParquetFile, "iter_batches", lambda self, **options: passes.append(1) or original(self, **options)
    )
    assert read(path) == texts
    assert len(passes) == 1


def test_a_giant_row_group_is_not_held_in_memory(write):
    texts = [random.Random(n).randbytes(500).hex() for n in range(20_000)]  # 20 MB that snappy cannot halve
    (group,) = open_sources(write(texts, group_rows=20_000))[0].groups
    before = pa.total_allocated_bytes()
    for first in range(0, 20_000, 1000):
        assert read_window(Window(group, first, 1000)).texts == texts[first : first + 1000]
        assert pa.total_allocated_bytes() - before < 8_000_000


def test_windows_can_be_read_in_any_order_and_skipped(write):
    texts = [f"{n}" for n in range(100)]
    group = open_sources(write(texts, group_rows=100))[0].groups[0]
    for first, rows in ((0, 10), (35, 7), (42, 30), (3, 50), (3, 50), (99, 1), (0, 100)):
        assert read_window(Window(group, first, rows)).texts == texts[first : first + rows]


def test_long_documents_make_small_windows(write, monkeypatch):
    monkeypatch.setattr(parquet, "WINDOW_BYTES", 10_000)
    found = windows(open_sources(write([f"{n}" * 2000 for n in range(100, 120)], group_rows=20)))
    assert {window.rows for window in found} == {1}
    assert len(found) == 20


def test_a_row_group_that_gives_fewer_rows_than_its_footer_says_is_refused(write, texts):
    group = dataclasses.replace(open_sources(write(texts))[0].groups[0], rows=11)
    with pytest.raises(FwplanError, match="row group 0 gave 10 rows, not 11"):
        read_window(Window(group, 0, 11))


def test_only_the_text_column_is_read(write, texts, monkeypatch):
    path = write(texts, junk=pa.array(["j" * 100] * 60))
    asked = []
    original = pq.ParquetFile.iter_batches

    def spy(self, **options):
        asked.append((options["row_groups"], options["columns"]))
        return original(self, **options)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", spy)
    assert read(path) == texts
    assert asked == [([n], ["text"]) for n in range(6)]


def test_the_footer_hash_follows_the_content(write, texts):
    def footer(name, rows):
        return open_sources(write(rows, name=name))[0].footer_sha256

    assert footer("a.parquet", texts) == footer("b.parquet", texts)
    assert footer("a.parquet", texts) != footer("c.parquet", [*texts[:-1], "something else"])


def test_no_text_column_names_what_is_there(tmp_path):
    pq.write_table(pa.table({"content": ["a"], "id": ["1"]}), tmp_path / "x.parquet")
    with pytest.raises(FwplanError, match=r"no 'text' column; this file has content, id"):
        open_sources(tmp_path)


def test_a_text_column_of_another_type_is_refused(tmp_path):
    pq.write_table(pa.table({"text": [b"bytes"]}), tmp_path / "x.parquet")
    with pytest.raises(FwplanError, match="column 'text' is binary, not string"):
        open_sources(tmp_path)


def test_no_rows_is_an_error_but_one_empty_file_of_two_is_not(write):
    empty = write([], name="empty.parquet")
    with pytest.raises(FwplanError, match="holds no rows"):
        open_sources(empty)
    assert len(read([empty, write(["a"], name="full.parquet")])) == 1


def test_a_file_that_was_written_again_is_opened_again(write, texts):
    assert read(write(texts)) == texts
    assert read(write([*texts[::-1], "more"])) == [*texts[::-1], "more"]


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.999])
def test_a_truncated_file_is_one_clear_error(write, texts, keep):
    path = write(texts)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(FwplanError, match=r"cannot read 'data.parquet' as parquet: .+") as caught:
        open_sources(path)
    assert caught.value.where == str(path.resolve())
    assert "\n" not in caught.value.message


def test_a_file_that_is_not_parquet_is_one_clear_error(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"text": "a"}\n' * 10)
    with pytest.raises(FwplanError, match=r"cannot read 'x.jsonl' as parquet"):
        open_sources(path)


def test_a_corrupt_page_is_one_clear_error(write, texts):
    path = write(texts, group_rows=60)
    data = bytearray(path.read_bytes())
    data[4:600] = b"\xff" * 596  # the footer stays whole
    path.write_bytes(data)
    with pytest.raises(FwplanError, match=r"cannot read 'data.parquet' as parquet"):
        read(path)


def test_text_that_is_not_utf8_is_one_clear_error(tmp_path):
    raw = pa.array([b"caf\xe9"], pa.binary())
    table = pa.table({"text": pa.StringArray.from_buffers(1, *raw.buffers()[1:])})
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(FwplanError, match=r"cannot read 'x.parquet'.*utf-8"):
        read(tmp_path / "x.parquet")
