"""Whole documents in shuffled order: each token once an epoch, the same for the same seed, no document torn apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fwplan.errors import FwplanError
from fwplan.train.batches import Batches
from fwplan.train.document_order import DocumentOrder

LENGTHS = [5, 1, 17, 3, 40, 2, 2, 9]
ENDS = np.cumsum(LENGTHS)
TOKENS = np.arange(int(ENDS[-1]))
CPU = torch.device("cpu")


def epoch(order, number):
    first = number * order.sequences
    return order.read(TOKENS, range(first, first + order.sequences))


def test_an_epoch_sees_each_token_once_but_for_the_rest_of_the_last_sequence():
    order = DocumentOrder(ENDS, seed=1, length=7)
    rows = epoch(order, 0)
    assert rows.shape == (order.sequences, 8)
    assert np.array_equal(rows[1:, 0], rows[:-1, -1])  # a sequence's last target begins the next
    inputs = rows[:, :-1].ravel()
    assert len(np.unique(inputs)) == len(inputs) == 77


def test_documents_stay_whole_and_their_order_changes_with_epoch_and_seed():
    order = DocumentOrder(ENDS, seed=1, length=7)
    text = epoch(order, 0)[:, :-1].ravel()
    breaks = np.flatnonzero(np.diff(text) != 1)
    assert set(text[breaks] + 1) <= set(ENDS.tolist())  # only where a document ends
    other_epoch, other_seed = epoch(order, 1), epoch(DocumentOrder(ENDS, seed=2, length=7), 0)
    assert not np.array_equal(epoch(order, 0), other_epoch)
    assert not np.array_equal(epoch(order, 0), other_seed)
    assert np.array_equal(epoch(order, 0), epoch(DocumentOrder(ENDS, seed=1, length=7), 0))


@pytest.mark.parametrize("length", [1, 78])
def test_the_shortest_and_the_longest_sequence(length):
    order = DocumentOrder(ENDS, seed=1, length=length)
    assert order.read(TOKENS, [0, order.sequences, 5 * order.sequences]).shape == (3, length + 1)


def batches(make_spec, shards, rank=0, **recipe):
    spec = make_spec(shuffle="documents", **recipe)
    return Batches(spec, shards.sequence, CPU, ends=shards.ends, rank=rank)


def _stack(pairs):
    return torch.stack([torch.stack(pair) for pair in pairs])


def test_a_resumed_run_reads_what_the_first_would_have(make_spec, shards):
    one, other = batches(make_spec, shards), batches(make_spec, shards)
    first = [_stack(one.step(step)) for step in range(12)]
    assert all(torch.equal(_stack(other.step(step)), first[step]) for step in (11, 7, 8, 3))


def test_an_epoch_over_the_steps_reads_each_sequence_once(make_spec, shards):
    found = batches(make_spec, shards)
    per_step, sequences = 6, (600 - 1) // 12
    rows = torch.cat([idx for step in range(sequences // per_step) for idx, _ in found.step(step)])
    text = shards.sequence("train")[:].astype(np.int64)
    assert len(rows) == 48
    assert np.isin(rows.numpy(), text).all()


def test_documents_are_found_without_an_index(shards):
    assert shards.meta is None
    ends = shards.ends("train")
    assert np.array_equal(np.flatnonzero(shards.sequence("train")[:] == 0) + 1, ends[:-1])
    assert ends[-1] == 600


def test_an_error_in_the_thread_is_the_callers(make_spec, shards):
    with pytest.raises(FwplanError, match="token id"):
        list(batches(lambda **recipe: make_spec({"vocab_size": 20}, **recipe), shards).step(0))
