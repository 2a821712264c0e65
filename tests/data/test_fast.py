"""gigatoken in tiktoken's place: stood in for by a module of the same interface, and itself where it is installed."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from types import ModuleType

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fwplan.data import fast, gpt2
from fwplan.data.fast import choose, fast_tokenizer
from fwplan.data.prepare import prepare
from fwplan.data.young import holds_young


@pytest.fixture
def stand_in(monkeypatch):
    """Return a function that installs a gigatoken whose tokens are tiktoken's, changed by `change`."""

    def install(change=lambda tokens: tokens):
        built = []

        class Tokenizer:
            @classmethod
            def from_tiktoken(cls, path, split, special_tokens):
                assert (split, special_tokens) == ("gpt2", {})
                assert path.read_bytes().startswith(b"IQ== 0\n")
                built.append(path)
                return cls()

            def encode(self, text):
                return change(gpt2.encode(text))

        module = ModuleType("gigatoken")
        module.Tokenizer = Tokenizer
        monkeypatch.setitem(sys.modules, "gigatoken", module)
        return built

    return install


def test_without_it_nothing_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "gigatoken", None)
    assert choose("gpt2", ["text"]) == (False, None)


def test_where_it_agrees_it_is_used(stand_in):
    stand_in()
    use, said = choose("gpt2", ["one", "two"])
    assert use
    assert "agrees with tiktoken on 2 of these documents" in said
    assert choose("bytes", ["one"]) == (False, None)
    assert choose("gpt2", []) == (False, None)  # nothing was compared


def test_where_it_disagrees_tiktoken_is_used_and_one_line_says_so(stand_in, write, texts, tmp_path):
    stand_in(lambda tokens: tokens[::-1])
    notes = []
    shards = prepare(write(texts), tmp_path / "a", note=notes.append)
    assert notes == ["gigatoken disagrees with tiktoken on this data: tokenizing with tiktoken"]
    plain = prepare(write(texts), tmp_path / "b", fast=False)
    assert shards.meta == plain.meta


def test_where_it_fails_tiktoken_is_used(stand_in, monkeypatch):
    def fail(_tokens):
        raise RuntimeError("panic")

    stand_in(fail)
    assert choose("gpt2", ["one"])[0] is False
    monkeypatch.setattr(sys.modules["gigatoken"].Tokenizer, "from_tiktoken", fail)
    use, said = choose("gpt2", ["one"])
    assert not use
    assert "does not start" in said


@pytest.mark.parametrize("resident", [True, False])
def test_its_cache_is_dropped_when_it_has_grown(stand_in, monkeypatch, resident):
    built, size = stand_in(), [0]
    monkeypatch.setattr(fast, "_CHECK_EVERY", 10)
    monkeypatch.setattr(fast, "_MOST_TEXT", 60)
    monkeypatch.setattr(fast, "_resident", lambda: size[0] if resident else None)
    made = fast_tokenizer("gpt2")
    for _ in range(20):
        made.encode("ten chars.")
        size[0] += fast._MOST_GROWTH // 5
    assert len(built) == (4 if resident else 3)


SPACES = st.text(" \n\t\u2003\u3000\x85\x1c", min_size=1, max_size=12)


@pytest.mark.skipif(find_spec("gigatoken") is None, reason="needs fwplan[fast]")
class TestItself:
    @example("a literal <|endoftext|> inside")
    @example("")
    @given(st.lists(SPACES | st.text(max_size=20) | st.text("'sdmtrel 019", max_size=9), max_size=9).map("".join))
    def test_its_tokens_are_tiktokens(self, text):
        assert np.array_equal(_gigatoken().encode(text), gpt2.encode(text))

    def test_no_character_is_another_to_it(self):
        """Every code point that is assigned, or soon may be, beside a letter, a digit, a mark, a space and itself."""
        codes = [code for code in (*range(0x33500), *range(0xE0000, 0xE0200)) if not 0xD800 <= code < 0xE000]
        quick, slow = _gigatoken().encode, gpt2.encode
        differing = [
            (hex(codes[n]), hex(codes[min(n + 63, len(codes) - 1)]))
            for n in range(0, len(codes), 64)
            if not np.array_equal(quick(text := _probe(codes[n : n + 64])), slow(text))
        ]
        assert differing == []

    @pytest.mark.parametrize("code", [0x88F, 0xC5C, 0xA7D2, 0x10940, 0x18D09, 0x1E6C0, 0x2B73A, 0x323B0, 0x33479])
    def test_a_young_letter_makes_a_whole_document_tiktokens(self, code):
        text = f"a{chr(code)}b 1{chr(code)}2 " * 20
        assert holds_young(text)
        assert np.array_equal(_gigatoken().encode(text), gpt2.encode(text))

    def test_long_whitespace_too(self):
        text = "a" + " " * 1_500_000 + "b"
        assert np.array_equal(_gigatoken().encode(text), gpt2.encode(text))

    def test_it_prepares_the_same_bytes(self, write, make_texts, tmp_path):
        source, notes = write(make_texts(500)), []
        quick = prepare(source, tmp_path / "a" / "set", workers=2, note=notes.append)
        assert "gigatoken, which agrees" in notes[0]
        assert quick.meta == prepare(source, tmp_path / "b" / "set", fast=False).meta


def _probe(codes):
    return "".join(f"x{c}x 1{c}1 !{c}! {c} {c}{c}'s\n" for c in map(chr, codes))


@pytest.mark.parametrize(
    "text", ["plain", "café “quoted” — naïve", "東京の天気は晴れです。", "हिन्दी में", "😀 emoji", ""]
)
def test_everyday_text_is_not_young(text):
    assert not holds_young(text)


def test_what_unicode_has_not_assigned_is_young_whatever_python_knows():
    for code in (0x378, 0x88F, 0x1C89, 0x10D40, 0x2EBF0, 0x323B0, 0x3FFFF, 0x10FFFF):
        assert holds_young(f"some text {chr(code)} in it")


def _gigatoken(made=[]):  # noqa: B006 (built once)
    if not made:
        made.append(fast_tokenizer("gpt2"))
    return made[0]
