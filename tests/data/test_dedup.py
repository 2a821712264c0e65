from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.data.dedup import SeenTexts
from fwplan.data.gpt2 import END_OF_TEXT, gpt2_encoding
from fwplan.data.prepare import prepare


@given(st.lists(st.lists(st.integers(0, 40), max_size=30), max_size=20))
def test_it_says_what_a_set_would_say(batches):
    seen, known = SeenTexts(), set()
    for batch in batches:
        digests = np.array([hashlib.md5(bytes([n])).digest() for n in batch], "S16")
        expected = []
        for n in batch:
            expected.append(n not in known)
            known.add(n)
        assert seen.new(digests).tolist() == expected


def test_digests_that_end_in_zeros_are_told_apart():
    digests = np.frombuffer(b"a" * 14 + b"\0\0" + b"a" * 14 + b"\1\0" + b"a" * 14 + b"\0\1", "S16")
    assert SeenTexts().new(digests).tolist() == [True, True, True]


@pytest.mark.parametrize("kind", ["nanogpt", "npy"])
@pytest.mark.parametrize("workers", [1, 2])
def test_of_equal_documents_the_first_stays(write, make_texts, tmp_path, kind, workers):
    texts = make_texts(60)
    doubled = [*texts[:40], *texts[10:50], None, texts[0], texts[0], *texts[50:]]
    options = {"format": kind, "val_fraction": 0.2, "workers": workers}
    shards = prepare(write(doubled, group_rows=7), tmp_path / "set", dedup=True, **options)
    assert sum(shards.documents.values()) == 60
    assert shards.meta["left_out"] == {"empty": 1, "low_score": 0, "duplicates": len(doubled) - 61}
    once = prepare(write(texts, name="once.parquet"), tmp_path / "once", **options)
    for split in ("train", "val"):
        assert np.array_equal(shards.sequence(split)[:], once.sequence(split)[:])
        assert np.array_equal(shards.ends(split), once.ends(split))
    assert int((shards.sequence("train")[:] == END_OF_TEXT).sum()) == shards.documents["train"]
    assert gpt2_encoding().eot_token == END_OF_TEXT
