from __future__ import annotations

import base64
import gzip
import hashlib
import socket
import sysconfig
from functools import cache
from importlib import resources
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import tiktoken
from hypothesis import example, given
from hypothesis import strategies as st
from tiktoken_ext.openai_public import r50k_pat_str

from fwplan.data import gpt2
from fwplan.data.corpus_text import documents
from fwplan.data.gpt2 import END_OF_TEXT, VOCAB, encode, gpt2_encoding
from fwplan.errors import FwplanError

# GPT-2's own pattern, before tiktoken made it possessive.
ORIGINAL = r"""'s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
SPACES = st.text(" \n\t\u2003\u3000\x85\x1c", min_size=1, max_size=12)


def test_the_ranks_are_the_official_table():
    ranks = gpt2._ranks(gpt2._read_merges())
    lines = (base64.b64encode(token) + b" " + str(rank).encode() + b"\n" for token, rank in ranks.items())
    assert hashlib.sha256(b"".join(lines)).hexdigest() == gpt2.RANKS_SHA256


def test_known_tokens_and_sizes():
    assert encode("hello world").tolist() == [31373, 995]
    assert gpt2_encoding().n_vocab == VOCAB == 50_257
    assert gpt2_encoding().eot_token == END_OF_TEXT == 50_256


def test_never_touches_the_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    assert gpt2_encoding.__wrapped__().n_vocab == VOCAB


def test_a_literal_end_of_text_is_plain_text():
    tokens = encode("before<|endoftext|>after")
    assert END_OF_TEXT not in tokens
    assert gpt2_encoding().decode(tokens.tolist()) == "before<|endoftext|>after"


@given(st.text())
def test_tokens_equal_encode_ordinary_and_decode_to_the_text(text):
    tokens = encode(text)
    assert tokens.dtype == np.uint32
    assert tokens.tolist() == gpt2_encoding().encode_ordinary(text)
    assert gpt2_encoding().decode(tokens.tolist()) == text


@cache
def written_as(pattern):
    """Return GPT-2's encoding with its pattern written in another way."""
    return tiktoken.Encoding(pattern, pat_str=pattern, mergeable_ranks=gpt2.ranks(), special_tokens={})


PIECES = SPACES | st.text(max_size=5) | st.text("ab'sdmtrelv \n09.é東", max_size=8)


@given(st.text() | st.lists(PIECES, max_size=9).map("".join))
def test_the_pattern_equals_gpt2s_original(text):
    tokens = encode(text).tolist()
    assert tokens == written_as(ORIGINAL).encode_ordinary(text)
    assert tokens == written_as(r50k_pat_str).encode_ordinary(text)


def test_two_corpora_have_the_tokens_of_tiktokens_own_pattern():
    prose = [document.text for document in islice(documents(), 0, 300, 6)]
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[::8]]
    for texts in (prose, code):
        assert sum(map(len, texts)) > 100_000
        for text in texts:
            assert encode(text).tolist() == written_as(r50k_pat_str).encode_ordinary(text)


@example("\n\n\x1cb", 3)  # white space to Python, not to the pattern
@given(st.lists(SPACES | st.text(max_size=8), max_size=8).map("".join), st.integers(1, 6))
def test_cutting_long_whitespace_changes_no_token(text, longest):
    parts = gpt2.cut_long_space(text, longest)
    assert "".join(parts) == text
    assert [token for part in parts for token in encode(part).tolist()] == encode(text).tolist()


@given(
    st.lists(SPACES | st.text(max_size=6) | st.text("ab 's\n", max_size=6), max_size=12).map("".join), st.integers(1, 6)
)
def test_cutting_a_long_text_changes_no_token(text, longest):
    parts = list(gpt2.cut_long_text(text, longest))
    assert "".join(parts) == text
    assert [token for part in parts for token in encode(part).tolist()] == encode(text).tolist()


def test_a_long_text_is_encoded_in_parts(monkeypatch):
    text = "It's  a long text, and it's longer \n than that. " * 20
    whole, sizes, real = encode(text).tolist(), [], gpt2._encode
    monkeypatch.setattr(gpt2, "LONG_TEXT", 50)
    monkeypatch.setattr(gpt2.cut_long_text, "__defaults__", (50,))
    monkeypatch.setattr(gpt2, "_encode", lambda part: sizes.append(len(part)) or real(part))
    assert encode(text).tolist() == whole
    assert max(sizes) < 70


def test_whitespace_too_long_for_the_pattern_still_encodes():
    text = "a" + " " * 1_500_000 + "b"
    with pytest.raises(ValueError, match="regex"):
        gpt2_encoding().encode_to_numpy(text, disallowed_special=())
    tokens = encode(text).tolist()
    assert gpt2_encoding().decode(tokens) == text
    assert tokens[-1] == encode(" b")[0]


@pytest.mark.parametrize("damage", [lambda z: z[:1000], lambda _: b"", lambda _: gzip.compress(b"#version: 0.2\n")])
def test_a_damaged_vocabulary_is_one_clear_error(tmp_path, monkeypatch, damage):
    asset = tmp_path / "assets" / "vocab.bpe.gz"
    asset.parent.mkdir()
    asset.write_bytes(damage((resources.files("fwplan.data") / "assets" / "vocab.bpe.gz").read_bytes()))
    monkeypatch.setattr(gpt2.resources, "files", lambda _package: tmp_path)
    with pytest.raises(FwplanError, match="missing or damaged"):
        gpt2._read_merges()


def test_the_notice_travels_with_the_vocabulary_and_the_archive_is_reproducible():
    assets = resources.files("fwplan.data") / "assets"
    assert "Copyright (c) 2019 OpenAI" in (assets / "NOTICE").read_text(encoding="utf-8")
    assert gpt2.VOCAB_SHA256 in (assets / "NOTICE").read_text(encoding="utf-8")
    assert (assets / "vocab.bpe.gz").read_bytes()[4:8] == bytes(4)  # gzip's time stamp
