from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.data.encode import HASH_SPAN, EncodeTask, encode_group, text_hash
from fwplan.data.parquet import open_sources
from fwplan.data.tokenizer import END_OF_TEXT, gpt2_encoding
from fwplan.errors import FwplanError


def group_of(path):
    return open_sources(path)[0].groups[0]


def test_end_of_text_follows_each_document_and_rows_add_up(write):
    encoded = encode_group(EncodeTask(group_of(write(["hello world", None, "", "hello"])), 0))
    tokens = np.frombuffer(encoded.tokens["train"], "<u2").tolist()
    assert tokens == [31373, 995, END_OF_TEXT, 31373, END_OF_TEXT]
    assert (encoded.documents, encoded.skipped) == ({"train": 2, "val": 0}, 2)


def test_the_threshold_divides_by_hash(write, texts):
    group = group_of(write(texts, group_rows=60))
    middle = sorted(map(text_hash, texts))[30]
    encoded = encode_group(EncodeTask(group, middle))
    assert encoded.documents == {"train": 30, "val": 30}
    val = gpt2_encoding().decode(np.frombuffer(encoded.tokens["val"], "<u2").tolist()).split("<|endoftext|>")[:-1]
    assert val == [text for text in texts if text_hash(text) < middle]
    assert (encoded.lowest, encoded.highest) == (min(map(text_hash, texts)), max(map(text_hash, texts)))


def test_a_row_group_that_gives_fewer_rows_than_its_footer_says_is_refused(write, texts):
    group = dataclasses.replace(group_of(write(texts)), rows=11)
    with pytest.raises(FwplanError, match="row group 0 gave 10 rows, not 11"):
        encode_group(EncodeTask(group, 0))


@given(st.text())
def test_the_hash_is_in_range_and_depends_on_the_text_alone(text):
    assert 0 <= text_hash(text) < HASH_SPAN
    assert text_hash(text) == text_hash("".join(list(text)))
    assert text_hash(text) != text_hash(text + "x")


def test_the_hash_is_the_same_on_every_machine():
    assert text_hash("hello") == 0xA7B6EDA801E5347D
