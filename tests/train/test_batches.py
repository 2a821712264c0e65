"""Batches are a function of their place in the run, cover the data, and are next-token pairs."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from fwplan.data.shards import open_shards
from fwplan.errors import FwplanError
from fwplan.train.batches import Batches, windows

CPU = torch.device("cpu")


def _batches(spec, shards, **kwargs):
    return Batches(spec, shards.sequence, CPU, **kwargs)


def _stack(pairs):
    return torch.stack([torch.stack(pair) for pair in pairs])


def test_a_step_is_pairs_one_token_apart(make_spec, shards):
    pairs = list(_batches(make_spec(), shards).step(0))
    text = shards.sequence("train")[:].tolist()
    assert len(pairs) == 2
    for idx, targets in pairs:
        assert idx.shape == targets.shape == (3, 12)
        assert idx.dtype == targets.dtype == torch.int64
        assert idx.is_contiguous()
        assert targets.is_contiguous()
        assert torch.equal(idx[:, 1:], targets[:, :-1])
        for row, last in zip(idx.tolist(), targets[:, -1].tolist(), strict=True):
            assert any(text[i : i + 13] == [*row, last] for i in range(len(text) - 12))


def test_the_same_step_is_the_same_batch_whatever_was_read_before(make_spec, shards):
    one, other = _batches(make_spec(), shards), _batches(make_spec(), shards)
    for step in range(5):
        list(one.step(step))
    list(one.validation())
    assert torch.equal(_stack(one.step(7)), _stack(other.step(7)))


@pytest.mark.parametrize("change", ["step", "micro_step", "rank", "seed", "split"])
def test_every_coordinate_changes_the_draw(change):
    tokens = np.arange(10_000)

    def draw(step=3, micro_step=1, rank=0, seed=5, split="train"):
        return windows(tokens, split=split, seed=seed, position=(step, micro_step, rank), count=8, length=4)

    other = {"split": "val"} if change == "split" else {change: 2**40}
    assert np.array_equal(draw(), draw())
    assert not np.isin(draw(**other)[:, 0], draw()[:, 0]).all()


def test_neighbouring_positions_share_no_draw():
    # a counter-based generator that counts in the wrong word would hand one step's numbers to the next
    text = np.arange(1_000_000)
    draws = [
        windows(text, split="train", seed=1, position=(step, micro, 0), count=64, length=1)[:, 0]
        for step in range(4)
        for micro in range(4)
    ]
    drawn = np.concatenate(draws)
    assert len(np.unique(drawn)) > 0.99 * len(drawn)


def test_first_and_last_window_are_both_drawn():
    tokens = np.arange(10)
    drawn = windows(tokens, split="train", seed=1, position=(0, 0, 0), count=300, length=6)
    assert set(drawn[:, 0]) == {0, 1, 2, 3}
    assert drawn[:, -1].max() == 9
    assert len(windows(tokens, split="train", seed=1, position=(0, 0, 0), count=2, length=9)) == 2


def test_validation_is_fixed_and_has_its_own_batch_size(make_spec, shards):
    batches = _batches(make_spec(eval_micro_batch_size=5, eval_batches=3), shards)
    first, second = _stack(batches.validation()), _stack(batches.validation())
    assert first.shape == (3, 2, 5, 12)
    assert torch.equal(first, second)
    assert len(list(batches.validation(1))) == 1


def test_ranks_read_different_windows(make_spec, shards):
    zero, one = _batches(make_spec(), shards), _batches(make_spec(), shards, rank=1)
    assert not torch.equal(_stack(zero.step(0)), _stack(one.step(0)))


def test_a_token_without_a_row_in_the_embedding_is_refused(make_spec, shards):
    spec = make_spec({"vocab_size": 20})
    with pytest.raises(FwplanError, match=r"token id \d\d, but model.vocab_size is 20") as caught:
        list(_batches(spec, shards).step(0))
    assert "vocab_size of at least" in str(caught.value)


def test_the_split_is_opened_for_each_batch(make_spec, shards):
    opened = []

    def read(split):
        opened.append(split)
        return shards.sequence(split)

    with Batches(make_spec(), read, CPU) as batches:
        list(batches.step(0))
    assert opened == ["train"] * 3  # and one ahead


def test_the_next_batch_is_read_while_one_is_used(make_spec, shards):
    began, wanted = [], threading.Event()

    def read(split):
        began.append(threading.current_thread().name)
        if len(began) == 2:
            wanted.set()
        return shards.sequence(split)

    step = Batches(make_spec(), read, CPU).step(0)
    next(step)
    assert wanted.wait(10)  # though nobody has asked for it
    assert all(name.startswith("batches") for name in began)
    step.close()


def test_closing_waits_for_the_reader(make_spec, shards):
    with _batches(make_spec(), shards) as batches:
        list(batches.step(0))
        (reader,) = batches._reader._threads
        assert reader.is_alive()
    assert not reader.is_alive()


def test_reading_ahead_changes_no_batch(make_spec, shards):
    batches = _batches(make_spec(), shards)
    jumps = [_stack(batches.step(step)) for step in (0, 1, 5, 2, 2)]
    fresh = [_stack(_batches(make_spec(), shards).step(step)) for step in (0, 1, 5, 2, 2)]
    assert all(torch.equal(a, b) for a, b in zip(jumps, fresh, strict=True))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="needs /proc")
def test_memory_does_not_grow_with_what_was_read(make_spec, tmp_path):
    def mapped():  # MiB of the token file in memory; libraries load pages of their own meanwhile
        areas = Path("/proc/self/smaps").read_text().split("VmFlags")
        return sum(int(re.search(r"Rss:\s+(\d+)", area)[1]) for area in areas if str(tmp_path) in area) // 1024

    with (tmp_path / "train.bin").open("wb") as file:
        for _ in range(8):
            file.write(np.zeros(2**22, "<u2").tobytes())  # 64 MiB in all
    shards = open_shards(tmp_path)
    spec = make_spec({"context_length": 4096}, micro_batch_size=64)
    before = mapped()
    with _batches(spec, shards) as batches:
        for step in range(80):  # 40 million tokens, 80 MB
            for _ in batches.step(step):
                pass
    assert mapped() - before < 24
    kept = shards.sequence("train")  # and this check can fail
    assert all(not kept[start : start + 2**20].any() for start in range(0, len(kept), 2**20))
    assert mapped() - before > 48
