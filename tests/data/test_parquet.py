from __future__ import annotations

import dataclasses
import gzip
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fwplan.data import parquet
from fwplan.data.parquet import WINDOW_ROWS, Window, open_sources, windows
from fwplan.data.rows import read_window, token_counts
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


@pytest.mark.parametrize("values", [[{"a": 1}], [7], [["a", "b"]]])
def test_a_text_column_of_another_type_is_refused(tmp_path, values):
    pq.write_table(pa.table({"text": values}), tmp_path / "x.parquet")
    with pytest.raises(FwplanError, match=r"column 'text' is .+, not text"):
        open_sources(tmp_path)


@pytest.mark.parametrize(
    "kind", [pa.dictionary(pa.int32(), pa.string()), pa.string_view(), pa.binary(), pa.large_binary(), pa.binary_view()]
)
def test_text_in_any_layout_is_read_as_text(write, kind):
    texts = ["one", None, "", "zwei 東京", "one"]
    raw = [text if text is None or "binary" not in str(kind) else text.encode() for text in texts]
    column = pa.array(texts).dictionary_encode() if pa.types.is_dictionary(kind) else pa.array(raw, kind)
    assert read(write(column, kind=column.type, group_rows=3)) == ["one", None, None, "zwei 東京", "one"]


def test_a_column_of_nulls_is_rows_without_text(write):
    assert read(write([None, None], kind=pa.null())) == [None, None]


def test_two_columns_of_one_name_are_one_clear_error(tmp_path):
    twice = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["text", "text"])
    pq.write_table(twice, tmp_path / "x.parquet")
    with pytest.raises(FwplanError, match="2 columns are named 'text'"):
        open_sources(tmp_path)


def test_two_columns_of_counts_are_none(tmp_path):
    table = pa.Table.from_arrays([pa.array(["a"]), pa.array([1]), pa.array([2])], names=["text", *["token_count"] * 2])
    pq.write_table(table, tmp_path / "x.parquet")
    assert not open_sources(tmp_path)[0].has_token_count


def test_the_text_may_be_in_a_column_of_any_name(write, texts):
    path = write(["no"] * 60, content=pa.array(texts))
    assert [text for window in windows(open_sources(path, "content")) for text in read_window(window).texts] == texts


@pytest.mark.parametrize(("names", "said"), [(["id", "content"], "content"), (["a"], "a"), (["a", "b"], "NAME")])
def test_a_missing_column_names_the_option_and_the_likely_column(tmp_path, names, said):
    pq.write_table(pa.table({name: ["x"] for name in names}), tmp_path / "x.parquet")
    with pytest.raises(FwplanError) as caught:
        open_sources(tmp_path)
    assert caught.value.hint.endswith(f"--text-column {said}")


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


@pytest.mark.parametrize(
    ("name", "content", "said", "hint"),
    [
        ("x.jsonl", b'{"text": "a"}\n' * 10, "it is JSON lines", "pyarrow.json.read_json"),
        ("x.json", b'[{"text": "a"}]', "it is JSON", "pyarrow.json.read_json"),
        ("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 10, mtime=0), "it is a gzip file", "pyarrow.json.read_json"),
        ("x.csv", b"text,id\nhello,1\n", "it is text", "pyarrow.csv.read_csv"),
        ("x.txt", "caf\u00e9 ".encode() * 1000, "it is text", 'in a column "text"'),
        ("x.parquet", b"<!DOCTYPE html><html>", "it is a web page or XML", "download the file itself"),
        ("y.parquet", b"version https://git-lfs.github.com/spec/v1\n", "it is a Git LFS pointer", "git lfs pull"),
        ("x.arrow", b"ARROW1\0\0" + bytes(50), "it is an Arrow file", "feather"),
    ],
)
def test_a_file_that_is_not_parquet_is_named_for_what_it_is(tmp_path, name, content, said, hint):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FwplanError, match=f"cannot read '{name}' as parquet: {said}") as caught:
        open_sources(tmp_path / name)
    assert hint in caught.value.hint
    assert "damaged" not in str(caught.value)


def test_a_corrupt_page_is_one_clear_error(write, texts):
    path = write(texts, group_rows=60)
    data = bytearray(path.read_bytes())
    data[4:600] = b"\xff" * 596  # the footer stays whole
    path.write_bytes(data)
    with pytest.raises(FwplanError, match=r"cannot read 'data.parquet' as parquet"):
        read(path)


@pytest.mark.parametrize("as_string", [True, False])
def test_text_that_is_not_utf8_names_its_row(tmp_path, as_string):
    texts = pa.array([b"fine"] * 1207 + [b"caf\xe9 au lait"] + [b"fine"] * 9, pa.binary())
    column = pa.StringArray.from_buffers(len(texts), *texts.buffers()[1:]) if as_string else texts
    pq.write_table(pa.table({"text": column}), tmp_path / "x.parquet", row_group_size=500)
    with pytest.raises(FwplanError, match=r"row 1,207 \(from 0\) of 'x.parquet' is not UTF-8: byte 0xe9 at its byte 3"):
        read(tmp_path / "x.parquet")


def test_a_flipped_bit_is_found_where_there_are_checksums(tmp_path, texts):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": texts * 20}), path, write_page_checksum=True, use_dictionary=False)
    data, rng = path.read_bytes(), random.Random(0)
    footer = 8 + int.from_bytes(data[-8:-4], "little")
    for place in rng.sample(range(4, len(data) - footer), 30):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        with pytest.raises(FwplanError, match=r"cannot read 'x.parquet' as parquet"):
            read(path)


@pytest.mark.parametrize("how", ["replaced", "rewritten"])
def test_a_file_that_changes_while_it_is_read_is_refused(write, texts, how):
    path, other = write(texts), write([text.upper() for text in texts], name="other.parquet")
    first, second, *_ = windows(open_sources(path))
    read_window(first)
    other.replace(path) if how == "replaced" else path.write_bytes(other.read_bytes())
    with pytest.raises(FwplanError, match=r"'data.parquet' was changed or replaced while it was in use"):
        read_window(second)
