"""A split shorter than a sequence is found before all is tokenized."""

from __future__ import annotations

import pytest

from fwplan.data import prepare as prepare_module
from fwplan.data.prepare import prepare
from fwplan.errors import FwplanError


class TokenizesError(Exception):
    pass


@pytest.fixture
def no_tokenizing(monkeypatch):
    """Return a function after which all that is tokenized is what the check takes."""

    def never(*_):
        raise TokenizesError

    return lambda: monkeypatch.setattr(prepare_module, "ordered_map", never)


@pytest.mark.parametrize("options", [{}, {"dedup": True, "val_fraction": 0.05}, {"val_fraction": 0.0001}])
def test_the_check_knows_what_will_be_there(write, make_texts, tmp_path, no_tokenizing, options):
    texts = make_texts(300)
    source = write([*texts, *texts[:100], None], group_rows=20)
    held = prepare(source, tmp_path / "made", **options).val_tokens
    assert 0 < held < 10_000
    prepare(source, tmp_path / "enough", sequence_length=held - 1, **options)
    no_tokenizing()
    with pytest.raises(FwplanError, match=rf"the val split holds {held:,} tokens; sequence_length {held} needs"):
        prepare(source, tmp_path / "short", sequence_length=held, **options)
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(("options", "split"), [({"val_fraction": 0}, "val"), ({"val_fraction": 0.5}, "train")])
def test_either_split_is_looked_at(write, texts, tmp_path, no_tokenizing, options, split):
    no_tokenizing()
    with pytest.raises(FwplanError, match=f"the {split} split holds"):
        prepare(write(texts), tmp_path / "set", sequence_length=2000, **options)


def test_of_much_text_the_beginning_is_read(write, make_texts, tmp_path, monkeypatch, no_tokenizing):
    from fwplan.data import encode

    read, real = [], encode.read_window
    no_tokenizing()
    monkeypatch.setattr(encode, "read_window", lambda window, **which: read.append(window) or real(window, **which))
    with pytest.raises(TokenizesError):  # it goes on
        prepare(write(make_texts(2000), group_rows=100), tmp_path / "set", val_fraction=0.1, sequence_length=32)
    assert len(read) == 1
