from __future__ import annotations

import pyarrow as pa
import pytest

from fwplan.data.count import TokenCount, count_tokens
from fwplan.data.parquet import BATCH_ROWS
from fwplan.data.tokenizer import encode
from fwplan.errors import FwplanError


def true_tokens(texts):
    return sum(len(encode(text)) + 1 for text in texts if text)


def test_the_token_count_column_is_summed_and_end_of_text_added(write):
    result = count_tokens(write(["a", "b", "c"], token_count=pa.array([10, 20, 30])))
    assert (result.tokens, result.documents, result.tier) == (63, 3, "token_count column")
    assert result.low == result.high == 63


def test_a_row_without_text_is_no_document_by_either_way(write):
    texts = ["hello world", None, "", "hello"]
    declared = count_tokens(write(texts, name="a.parquet", token_count=pa.array([2, None, 0, 1])))
    read = count_tokens(write(texts, name="b.parquet"))
    assert (declared.tokens, declared.documents) == (read.tokens, read.documents) == (5, 2)


def test_without_the_column_a_small_file_is_counted_exactly(write, texts):
    result = count_tokens(write(texts))
    tokens, size = true_tokens(texts), sum(len(text.encode()) for text in texts)
    assert result == TokenCount(tokens, 60, size, "tokenized", tokens, tokens)


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


@pytest.mark.parametrize(("rows", "group_rows"), [(2000, 10), (20 * BATCH_ROWS, 10**6)])
def test_a_sample_reads_sixteen_windows_and_no_more(write, monkeypatch, rows, group_rows):
    seen = []
    monkeypatch.setattr("fwplan.data.tokenizer.encode", lambda text: seen.append(text) or [0])
    count_tokens(write([f"{n}" for n in range(rows)], group_rows=group_rows))
    assert len(set(seen)) == len(seen) == 16 * min(group_rows, BATCH_ROWS)
    numbers = sorted(map(int, seen))
    assert numbers[0] < rows / 16
    assert numbers[-1] > rows * 15 / 16


def test_files_are_summed_and_one_without_the_column_decides(write, texts):
    write(texts[:30], name="in/a.parquet", token_count=pa.array([1000] * 30))
    folder = write(texts[30:], name="in/b.parquet").parent
    assert count_tokens(folder).tokens == true_tokens(texts)
    assert count_tokens(folder / "a.parquet").tokens == 30 * 1001


def test_no_text_at_all_is_an_error(write):
    with pytest.raises(FwplanError, match="the 3 rows that were read hold no text"):
        count_tokens(write([None, "", None]))


def test_counting_and_preparing_load_no_torch(modules_after):
    loaded = modules_after("import fwplan.data.count, fwplan.data.prepare, fwplan.data.corpus")
    assert "torch" not in loaded
    assert {"pyarrow", "tiktoken"} <= loaded  # the check sees what is loaded
