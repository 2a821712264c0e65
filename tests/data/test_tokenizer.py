from __future__ import annotations

import threading

import numpy as np
import pyarrow as pa
import pytest
import tiktoken

from fwplan.data import gpt2, tokenizer
from fwplan.data.prepare import prepare
from fwplan.data.tokenizer import load_tokenizer, ranks_sha256
from fwplan.errors import FwplanError

WIDE = 100_000


@pytest.fixture
def wide(monkeypatch):
    """Make tiktoken know an encoding of 100,257 tokens, most of which are pairs of GPT-2's."""
    ranks = {**gpt2.ranks()}
    for n in range(WIDE - len(ranks)):
        ranks[b"@wide" + str(n).encode()] = len(ranks)
    encoding = tiktoken.Encoding("wide", pat_str=gpt2.PATTERN, mergeable_ranks=ranks,
                                 special_tokens={"<|endoftext|>": WIDE + 256})  # fmt: skip
    monkeypatch.setattr(tiktoken, "list_encoding_names", lambda: ["wide"])
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _name: encoding)
    yield encoding
    load_tokenizer.cache_clear()


def test_gpt2_by_its_names():
    assert load_tokenizer("gpt2") == load_tokenizer("tiktoken:gpt2") == load_tokenizer("tiktoken:r50k_base")
    assert load_tokenizer().sha256 == ranks_sha256(gpt2.ranks()) == gpt2.RANKS_SHA256
    assert load_tokenizer().dtype == np.dtype("<u2")
    assert load_tokenizer().decode(load_tokenizer().encode("hello world").tolist()) == "hello world"


def test_bytes_come_back():
    made = load_tokenizer("bytes")
    assert (made.vocab_size, made.end_of_text, made.dtype) == (257, 256, np.dtype("<u2"))
    assert made.decode([*made.encode("héllo").tolist(), 256]) == "héllo"


def test_a_wide_vocabulary_is_uint32_and_never_wraps(wide, write, tmp_path):
    made = load_tokenizer("tiktoken:wide")
    assert (made.vocab_size, made.end_of_text, made.dtype) == (WIDE + 257, WIDE + 256, np.dtype("<u4"))
    for kind in ("nanogpt", "npy", "llmc"):
        texts = ["plain text", "other text"]
        options = {"tokenizer": "tiktoken:wide", "val_fraction": 0, "workers": 1}
        shards = prepare(write(texts), tmp_path / kind, format=kind, **options)
        assert shards.dtype == np.dtype("<u4")
        tokens = shards.sequence("train")[:].tolist()
        assert tokens.count(WIDE + 256) == 2  # 34,976 after a wrap
        assert [t for t in tokens if t != WIDE + 256] == [t for text in texts for t in wide.encode_ordinary(text)]
        assert shards.meta["tokenizer"]["sha256"] == made.sha256


def test_a_vocabulary_of_65_536_still_fits_uint16():
    made = load_tokenizer("bytes")
    sized = [tokenizer.Tokenizer("x", n, 0, "", made.encode, made.decode).dtype.name for n in (65_536, 65_537)]
    assert sized == ["uint16", "uint32"]


@pytest.mark.parametrize("name", ["gpt3", "tiktoken", "tiktoken:", "", "bert:x"])
def test_an_unknown_tokenizer_is_repeated(name):
    with pytest.raises(FwplanError, match=f"unknown tokenizer '{name}'"):
        load_tokenizer(name)


def test_an_unknown_encoding_lists_the_known():
    with pytest.raises(FwplanError, match="tiktoken knows no encoding 'nope'") as caught:
        load_tokenizer("tiktoken:nope")
    assert "cl100k_base" in caught.value.hint


def test_a_download_that_never_answers_is_given_up(monkeypatch):
    silence = threading.Event()
    monkeypatch.setattr(tokenizer, "LOAD_SECONDS", 0.05)
    monkeypatch.setattr(tiktoken, "get_encoding", lambda _name: silence.wait(10))
    with pytest.raises(FwplanError, match="no answer in 0 s") as caught:
        load_tokenizer("tiktoken:o200k_base")
    silence.set()
    assert "TIKTOKEN_CACHE_DIR" in caught.value.hint


def test_a_download_that_fails_is_one_clear_error(monkeypatch):
    def refuse(_name):
        raise ConnectionError("no network\nno network")

    monkeypatch.setattr(tiktoken, "get_encoding", refuse)
    with pytest.raises(FwplanError, match=r"first use: no network\n"):
        load_tokenizer("tiktoken:o200k_base")


def test_the_score_option_needs_the_column(write, texts, tmp_path):
    with pytest.raises(FwplanError, match="no 'language_score' column"):
        prepare(write(texts), tmp_path / "out", min_language_score=0.5)
    scores = pa.array([0.1] * 60, pa.float64())
    with pytest.raises(FwplanError, match="below the language score"):
        prepare(write(texts, language_score=scores), tmp_path / "out", min_language_score=0.5)
    scores = pa.array([n / 60 for n in range(60)], pa.float64())
    shards = prepare(write(texts, language_score=scores), tmp_path / "out", min_language_score=0.5)
    assert sum(shards.documents.values()) == 30
    assert shards.meta["left_out"]["low_score"] == 30
