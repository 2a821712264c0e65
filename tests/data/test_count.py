from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from fwplan.api.data import CountReport
from fwplan.data import sampling
from fwplan.data.count import count_tokens
from fwplan.data.gpt2 import encode
from fwplan.data.parquet import open_sources
from fwplan.data.sampling import places, unit_at
from fwplan.data.tokenizer import load_tokenizer
from fwplan.errors import FwplanError
from fwplan.view.terminal.data import count_lines


def true_tokens(texts):
    return sum(len(encode(text)) + 1 for text in texts if text)


def counts(texts):
    return pa.array([len(encode(text)) if text else 0 for text in texts])


def test_the_token_count_column_is_summed_and_end_of_text_added(write, texts):
    result = count_tokens(write(texts, token_count=counts(texts)))
    assert (result.tokens, result.documents, result.tier) == (true_tokens(texts), 60, "token_count column")
    assert result.low == result.high == result.tokens
    assert 8 <= result.checked <= 60
    assert result.notes == ()


def test_a_column_that_is_right_is_all_that_is_read_but_for_a_few_documents(write, make_texts, monkeypatch):
    texts = make_texts(3000)
    path, seen = write(texts, group_rows=100, token_count=counts(texts)), []
    monkeypatch.setattr("fwplan.data.gpt2.encode", lambda text: seen.append(text) or encode(text))
    load_tokenizer.cache_clear()
    assert count_tokens(path).tokens == true_tokens(texts)
    load_tokenizer.cache_clear()
    assert 0 < len(seen) <= 65  # 8 places of 8 documents, and "" to build the tokenizer


def test_a_column_that_is_wrong_is_found_out(write, texts):
    result = count_tokens(write(texts, token_count=pa.array([n + 1 for n in counts(texts).to_pylist()])))
    assert (result.tokens, result.tier) == (true_tokens(texts), "tokenized")
    assert "off in data.parquet, by" in result.notes[0]


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


@pytest.fixture
def small_units(monkeypatch):
    """Make 64 places of 2,000 bytes more than enough to be much."""
    monkeypatch.setattr(sampling, "UNIT_BYTES", 2000)


@pytest.mark.usefixtures("small_units")
def test_a_large_file_is_sampled_with_an_interval_that_holds_the_truth(write, make_texts):
    texts = make_texts(2000)
    result = count_tokens(write(texts))
    assert result.tier == "sampled"
    assert result.documents == 2000
    assert result.bytes == sum(len(text.encode()) for text in texts)
    assert result.tokens == pytest.approx(true_tokens(texts), rel=0.02)
    assert result.low <= true_tokens(texts) <= result.high
    assert 0 < result.high - result.low < 0.05 * result.tokens


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("group_rows", [100, 10**6])
@pytest.mark.parametrize("decoded", [True, False])
@pytest.mark.parametrize(
    "encoding", [{"use_dictionary": True}, {"use_dictionary": False, "column_encoding": {"text": "DELTA_BYTE_ARRAY"}}]
)
def test_what_a_dictionary_or_differences_save_changes_nothing(
    tmp_path, make_texts, monkeypatch, encoding, group_rows, decoded
):
    if not decoded:
        monkeypatch.setattr(sampling, "_DECODED_BYTES", 0)  # as for much text: the footers are all there is to go by
        monkeypatch.setattr(sampling, "UNIT_BYTES", 50)
    texts = [f"{'the model trains on ' * 20}{text}" for text in make_texts(40)] * 100
    texts = sorted(texts) if "column_encoding" in encoding else texts
    pq.write_table(pa.table({"text": texts}), tmp_path / "x.parquet", row_group_size=group_rows, **encoding)
    (source,) = open_sources(tmp_path / "x.parquet")
    truth = sum(len(text.encode()) for text in texts)
    assert sum(group.text_bytes for group in source.groups) < 0.6 * truth  # the footer does not say it
    result = count_tokens(tmp_path / "x.parquet")
    assert result.tier == "sampled"
    assert result.bytes == pytest.approx(truth, rel=0.01)
    assert result.tokens == pytest.approx(true_tokens(texts), rel=0.02)
    assert result.low <= true_tokens(texts) <= result.high
    assert count_tokens(tmp_path / "x.parquet", exact=True, workers=1).bytes == truth


@pytest.mark.usefixtures("small_units")
def test_a_mixed_file_gets_a_wider_interval_than_a_uniform_one(write):
    def width(texts, name):
        result = count_tokens(write(texts, name=name))
        return (result.high - result.low) / result.tokens

    plain = ["the model trains and the loss fits " * 5 + str(n) for n in range(1000)]
    dense = ["東京の天気は晴れです。" * 10 + str(n) for n in range(1000)]
    assert width(plain + dense, "mixed.parquet") > 5 * width(plain + plain, "uniform.parquet")


@pytest.mark.usefixtures("small_units")
@pytest.mark.parametrize("group_rows", [10, 10**6])
def test_a_sample_tokenizes_sixty_four_places_and_no_more(write, monkeypatch, group_rows):
    seen = []
    monkeypatch.setattr("fwplan.data.gpt2.encode", lambda text: seen.append(text) or [0])
    load_tokenizer.cache_clear()
    count_tokens(write([f"{n:05}" * 20 for n in range(20_000)], group_rows=group_rows))  # 2 MB
    load_tokenizer.cache_clear()
    numbers = sorted(int(text[:5]) for text in seen if text)
    assert len(numbers) <= 64 * 20
    gaps = [after - before for before, after in pairwise(numbers)]
    assert max([numbers[0], 20_000 - numbers[-1], *gaps]) <= 2 * 20_000 / 64 + 20  # one in each stretch


def test_a_document_larger_than_a_place_counts_once(write, monkeypatch):
    monkeypatch.setattr(sampling, "UNIT_BYTES", 100)
    texts = ["word " * 4000, *(f"some words and the number {n}" for n in range(2000))]
    result = count_tokens(write(texts, group_rows=10**6))
    assert result.tier == "sampled"
    assert result.low <= true_tokens(texts) <= result.high


@given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.integers(1, 80))
def test_a_byte_lies_in_one_unit_and_each_unit_has_its_bytes_share_of_places(lengths, unit_bytes):
    total, sizes = sum(lengths), np.array(lengths)
    assume(total)
    hits = Counter(unit_at(sizes, (byte + 0.5) / total, unit_bytes) for byte in range(total))
    assert all(hits[first, rows] == sizes[first : first + rows].sum() for first, rows in hits)
    assert sum(hits.values()) == total


def test_places_are_one_in_each_equal_stretch_of_the_bytes():
    sizes = [5, 1, 700, 0, 3, 40, 251]
    starts = np.cumsum([0, *sizes])
    found = places(sizes, 10)
    at = [starts[place.group] + place.part * sizes[place.group] for place in found]
    assert [int(byte // 100) for byte in at] == list(range(10))
    assert len({round(byte % 100) for byte in at}) > 5  # in no step with anything


def test_the_interval_holds_the_truth_of_drawn_data_sets():
    """A slice of benchmarks/count_coverage.py, with sources whose tokens a byte differ fivefold."""
    rng, covered, errors = np.random.default_rng(1), 0, []
    for _ in range(60):
        sources = rng.uniform(0.2, 1.0, rng.integers(1, 6))
        shares = rng.dirichlet(np.ones(len(sources)))
        sizes = rng.lognormal(8, 1, 4000).astype(np.int64) + 1
        ratios = sources[np.searchsorted(np.cumsum(shares)[:-1], np.cumsum(sizes) / sizes.sum())]
        ratios = rng.permutation(ratios) if rng.random() < 0.5 else ratios
        tokens = np.maximum(sizes * ratios * rng.lognormal(0, 0.1, 4000), 1)
        rows = int(rng.choice([10, 100, 4000]))
        groups = [slice(start, start + rows) for start in range(0, 4000, rows)]
        footers = [max(int(sizes[group].sum() * rng.lognormal(-1, 0.3)), rows) for group in groups]
        found = []
        for place in places(footers, 64):
            group = groups[place.group]
            first, count = unit_at(sizes[group], place.part, 20_000)
            unit = slice(group.start + first, group.start + first + count)
            measured = (tokens[unit].sum(), sizes[unit].sum())
            found.append(sampling.found_in(sizes[group], measured, footers[place.group]))
        said = sampling.estimate(found, sum(footers))
        errors.append(abs(said.tokens / tokens.sum() - 1))
        covered += abs(said.tokens - tokens.sum()) <= said.spread
    assert covered >= 54  # of 60, where 95 % are 57
    assert np.median(errors) < 0.05


def test_files_are_summed_and_one_without_the_column_decides(write, texts):
    write(texts[:30], name="in/a.parquet", token_count=pa.array([1000] * 30))
    folder = write(texts[30:], name="in/b.parquet").parent
    assert count_tokens(folder).tokens == true_tokens(texts)
    assert count_tokens(folder / "a.parquet").tokens == true_tokens(texts[:30])  # 1000 was not true


@pytest.mark.parametrize("wrong", range(12))
def test_one_file_of_twelve_that_counts_words_is_found(write, make_texts, wrong):
    for number in range(12):
        texts = make_texts(30, seed=number)
        stated = pa.array([len(text.split()) for text in texts]) if number == wrong else counts(texts)
        folder = write(texts, name=f"in/{number:02}.parquet", token_count=stated).parent
    result = count_tokens(folder)
    truth = sum(true_tokens(make_texts(30, seed=number)) for number in range(12))
    assert (result.tokens, result.tier, result.documents) == (truth, "tokenized", 360)
    assert f"off in {wrong:02}.parquet of 12 files" in result.notes[0]


def test_every_file_is_looked_into_up_to_a_number_that_is_said(write, make_texts, monkeypatch):
    for number in range(20):
        texts = make_texts(12, seed=number)
        folder = write(texts, name=f"in/{number:02}.parquet", token_count=counts(texts)).parent
    result = count_tokens(folder)
    assert (result.tier, result.checked_files, result.files) == ("token_count column", 20, 20)
    assert any(
        "some of each of 20 files" in line for line in count_lines(CountReport(result, 1, None, None, "text"), ["in"])
    )
    monkeypatch.setattr("fwplan.data.declared.MOST_FILES", 5)
    result = count_tokens(folder)
    assert (result.tier, result.checked_files) == ("token_count column", 5)
    assert any(
        "of 5 of the 20 files" in line for line in count_lines(CountReport(result, 1, None, None, "text"), ["in"])
    )


def test_a_column_is_compared_where_documents_are_long_too(write):
    texts = ["the model " * 60_000 + str(n) for n in range(4)]
    result = count_tokens(write(texts, token_count=pa.array([7] * 4)))
    assert (result.tokens, result.documents) == (true_tokens(texts), 4)
    assert count_tokens(write(texts, token_count=counts(texts))).checked >= 1


def test_a_count_of_a_row_without_text_is_wrong(write, texts):
    path = write([*texts, *[None] * 60], token_count=pa.array([*counts(texts).to_pylist(), *[50] * 60]))
    assert count_tokens(path).tokens == true_tokens(texts)


def test_no_text_at_all_is_an_error(write):
    with pytest.raises(FwplanError, match="the 3 rows that were read hold no text"):
        count_tokens(write([None, "", None]))


def test_counting_and_preparing_load_no_torch(modules_after):
    loaded = modules_after("import fwplan.data.count, fwplan.data.prepare, fwplan.data.corpus")
    assert "torch" not in loaded
    assert {"pyarrow", "tiktoken"} <= loaded  # the check sees what is loaded
