from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.data.encode import HASH_SPAN, EncodeTask, encode_window, text_hash
from fwplan.data.gpt2 import END_OF_TEXT, gpt2_encoding
from fwplan.data.parquet import open_sources, windows


def window_of(path):
    return windows(open_sources(path))[0]


@pytest.mark.parametrize("end_first", [False, True])
def test_end_of_text_stands_by_each_document_and_rows_add_up(write, end_first):
    task = EncodeTask(window_of(write(["hello world", None, "", "hello"])), 0, end_first=end_first)
    encoded = encode_window(task)
    after, before = [31373, 995, END_OF_TEXT, 31373, END_OF_TEXT], [END_OF_TEXT, 31373, 995, END_OF_TEXT, 31373]
    assert encoded.parts["train"].tokens.tolist() == (before if end_first else after)
    assert encoded.parts["train"].lengths.tolist() == [3, 2]
    assert len(encoded.parts["val"].tokens) == 0
    assert encoded.empty == 2


def test_bytes_are_a_vocabulary_too(write):
    tokens = encode_window(EncodeTask(window_of(write(["hé"])), 0, tokenizer="bytes")).parts["train"].tokens
    assert tokens.dtype == "uint16"
    assert tokens.tolist() == [*"hé".encode(), 256]


def test_the_threshold_divides_by_hash(write, texts):
    middle = sorted(map(text_hash, texts))[30]
    encoded = encode_window(EncodeTask(window_of(write(texts, group_rows=60)), middle))
    assert [len(encoded.parts[split].lengths) for split in ("train", "val")] == [30, 30]
    val = gpt2_encoding().decode(encoded.parts["val"].tokens.tolist()).split("<|endoftext|>")[:-1]
    assert val == [text for text in texts if text_hash(text) < middle]
    assert (encoded.lowest, encoded.highest) == (min(map(text_hash, texts)), max(map(text_hash, texts)))


def test_a_row_below_the_score_or_without_one_is_left_out(write):
    scores = pa.array([0.9, 0.5, None, 0.65, 0.1], pa.float64())
    window = window_of(write(["a", "b", "c", "d", None], language_score=scores))
    encoded = encode_window(EncodeTask(window, 0, min_score=0.65))
    assert (len(encoded.parts["train"].lengths), encoded.low_score, encoded.empty) == (2, 2, 1)


def test_digests_tell_texts_apart(write):
    digests = encode_window(EncodeTask(window_of(write(["a", "b", "a"])), 0, digests=True)).parts["train"].digests
    assert digests[0] == digests[2] != digests[1]
    assert np.asarray(digests).dtype == "S16"


@given(st.text())
def test_the_hash_is_in_range_and_depends_on_the_text_alone(text):
    assert 0 <= text_hash(text) < HASH_SPAN
    assert text_hash(text) == text_hash("".join(list(text)))
    assert text_hash(text) != text_hash(text + "x")


def test_the_hash_is_the_same_on_every_machine():
    assert text_hash("hello") == 0xA7B6EDA801E5347D
