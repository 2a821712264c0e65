from __future__ import annotations

import pyarrow as pa
import pytest

from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import encode
from fwplan.data.parquet import WINDOW_ROWS
from fwplan.data.tokenizer import load_tokenizer
from fwplan.errors import FwplanError


def true_tokens(texts):
    return sum(len(encode(text)) + 1 for text in texts if text)


def counts(texts):
    return pa.array([len(encode(text)) if text else 0 for text in texts])


def test_the_token_count_column_is_summed_and_end_of_text_added(write, texts):
    result = count_tokens(write(texts, token_count=counts(texts)))
    assert (result.tokens, result.documents, result.tier) == (true_tokens(texts), 60, "token_count column")
    assert result.low == result.high == result.tokens
    assert result.checked == 48  # 8 rows of each of 6 groups
    assert result.notes == ()


def test_a_column_that_is_right_is_all_that_is_read_but_for_a_few_documents(write, make_texts, monkeypatch):
    texts = make_texts(3000)
    path, seen = write(texts, group_rows=100, token_count=counts(texts)), []
    monkeypatch.setattr("fwplan.data.gpt2.encode", lambda text: seen.append(text) or encode(text))
    load_tokenizer.cache_clear()
    assert count_tokens(path).tokens == true_tokens(texts)
    load_tokenizer.cache_clear()
    assert 0 < len(seen) <= 65


def test_a_column_that_is_wrong_is_found_out(write, texts):
    result = count_tokens(write(texts, token_count=pa.array([n + 1 for n in counts(texts).to_pylist()])))
    assert (result.tokens, result.tier) == (true_tokens(texts), "tokenized")
    assert "off on 48 documents" in result.notes[0]


def test_the_column_means_nothing_to_another_tokenizer(write, texts):
    result = count_tokens(write(texts, token_count=counts(texts)), tokenizer="bytes")
    assert result.tokens == sum(len(text.encode()) + 1 for text in texts)
    assert result.tier == "tokenized"


@pytest.mark.parametrize("workers", [1, 2])
def test_exact_reads_every_document(write, make_texts, workers):
    texts, calls = [*make_texts(500), None, ""], []
    path = write(texts, token_count=pa.array([7] * 502))
    result = count_tokens(path, exact=True, workers=workers, progress=lambda *call: calls.append(call))
    assert (result.tokens, result.documents, result.tier) == (true_tokens(texts), 500, "tokenized")
    assert calls[-1][0] == calls[-1][1]


def test_a_row_without_text_is_no_document_by_either_way(write):
    texts = ["hello world", None, "", "hello"]
    declared = count_tokens(write(texts, name="a.parquet", token_count=pa.array([2, None, 0, 1])))
    read = count_tokens(write(texts, name="b.parquet"))
    assert (declared.tokens, declared.documents) == (read.tokens, read.documents) == (5, 2)


def test_without_the_column_a_small_file_is_counted_exactly(write, texts):
    result = count_tokens(write(texts))
    tokens, size = true_tokens(texts), sum(len(text.encode()) for text in texts)
    assert (result.tokens, result.low, result.high) == (tokens, tokens, tokens)
    assert (result.documents, result.bytes, result.tier) == (60, size, "tokenized")
    assert (result.files, result.rows, result.bytes_per_token) == (1, 60, 2)
    assert result.disk_bytes == 2 * tokens + 8 * 60


def test_a_large_file_is_sampled_with_an_interval_that_holds_the_truth(write, make_texts):
    texts = make_texts(2000)
    result = count_tokens(write(texts))  # 200 row groups
    assert result.tier == "sampled"
    assert result.documents == 2000
    assert result.bytes == pytest.approx(sum(len(text.encode()) for text in texts), rel=0.03)
    assert result.tokens == pytest.approx(true_tokens(texts), rel=0.05)
    assert result.low < result.tokens < result.high
    assert result.low <= true_tokens(texts) <= result.high
    assert result.high - result.low < 0.2 * result.tokens


def test_a_mixed_file_gets_a_wider_interval_than_a_uniform_one(write):
    def width(texts, name):
        result = count_tokens(write(texts, name=name))
        return (result.high - result.low) / result.tokens

    plain = ["the model trains and the loss fits " * 5 + str(n) for n in range(1000)]
    dense = ["東京の天気は晴れです。" * 10 + str(n) for n in range(1000)]
    assert width(plain + dense, "mixed.parquet") > 5 * width(plain + plain, "uniform.parquet")


@pytest.mark.parametrize(("rows", "group_rows"), [(2000, 10), (20 * WINDOW_ROWS, 10**6)])
def test_a_sample_reads_sixteen_windows_and_no_more(write, monkeypatch, rows, group_rows):
    seen = []
    monkeypatch.setattr("fwplan.data.gpt2.encode", lambda text: seen.append(text) or [0])
    load_tokenizer.cache_clear()
    count_tokens(write([f"{n}" for n in range(rows)], group_rows=group_rows))
    load_tokenizer.cache_clear()
    seen.remove("")
    assert len(set(seen)) == len(seen) == 16 * min(group_rows, WINDOW_ROWS)
    numbers = sorted(map(int, seen))
    assert numbers[0] < rows / 16
    assert numbers[-1] > rows * 15 / 16


def test_files_are_summed_and_one_without_the_column_decides(write, texts):
    write(texts[:30], name="in/a.parquet", token_count=pa.array([1000] * 30))
    folder = write(texts[30:], name="in/b.parquet").parent
    assert count_tokens(folder).tokens == true_tokens(texts)
    assert count_tokens(folder / "a.parquet").tokens == true_tokens(texts[:30])  # 1000 was not true


def test_no_text_at_all_is_an_error(write):
    with pytest.raises(FwplanError, match="the 3 rows that were read hold no text"):
        count_tokens(write([None, "", None]))


def test_counting_and_preparing_load_no_torch(modules_after):
    loaded = modules_after("import fwplan.data.count, fwplan.data.prepare, fwplan.data.corpus")
    assert "torch" not in loaded
    assert {"pyarrow", "tiktoken"} <= loaded  # the check sees what is loaded
