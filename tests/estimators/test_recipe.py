import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimators.recipe import (
    advised_tokens_per_step,
    checkpoint_interval,
    eval_batches,
    eval_interval,
    learning_rate,
    tokens_per_step,
)


@given(st.floats(1, 1e14), st.floats(1, 1e24))
def test_the_batch_is_a_power_of_two_at_most_half_a_million(tokens, flops):
    batch = tokens_per_step(tokens, flops)
    assert batch & (batch - 1) == 0
    assert 1 <= batch <= 524_288
    assert tokens / batch >= 250 or batch == 1


# FACTS: 85 M parameters without embeddings on 2.5 B and 10 B tokens: 244,172 and 384,263 tokens.
@pytest.mark.parametrize(("tokens", "flops", "batch"), [(2.5e9, 1.28e18, 262_144), (10e9, 5.1e18, 524_288)])
def test_batches_of_deepseeks_law(tokens, flops, batch):
    assert tokens_per_step(tokens, flops) == batch


@pytest.mark.parametrize(("flops", "rate"), [(1.28e18, 1.7e-3), (5.1e18, 1.4e-3), (1e12, 3e-3)])
def test_learning_rates_of_deepseeks_law(flops, rate):
    assert learning_rate(flops, advised_tokens_per_step(flops)) == pytest.approx(rate, rel=0.04)


def test_a_batch_below_the_laws_takes_a_lower_rate_and_a_larger_one_no_higher():
    law = advised_tokens_per_step(1e22)
    whole = learning_rate(1e22, law)
    assert learning_rate(1e22, law / 4) == pytest.approx(whole / 2, rel=0.03)
    assert learning_rate(1e22, 4 * law) == whole


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 2**20))
def test_an_evaluation_has_half_a_million_tokens_where_that_is_cheap(steps, accumulation, tokens):
    batches = eval_batches(steps, accumulation, tokens)
    assert batches >= min(20, -(-524_288 // tokens))
    assert (batches - 1) * tokens < 524_288
    if batches > 20:  # twenty of them, a third of a micro-step for a batch
        assert 20 * batches / 3 <= 0.05 * steps * accumulation + 1e-6


@given(st.integers(1, 10**6), st.floats(1e-3, 1e4))
def test_a_crash_costs_half_an_hour(steps, seconds):
    interval = checkpoint_interval(steps, seconds)
    assert 1 <= interval <= steps
    if 1 < interval < steps:
        assert 900 < interval * seconds < 2700


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 200))
def test_evaluations_are_rare_and_happen(steps, accumulation, batches):
    interval = eval_interval(steps, accumulation, batches)
    assert 1 <= interval <= steps
    assert interval <= 1000
    if interval < min(steps, 1000):
        assert batches / 3 / (interval * accumulation) <= 0.05 + 1e-9
