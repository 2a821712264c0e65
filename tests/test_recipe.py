import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.recipe import eval_interval, learning_rate, tokens_per_step


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
    assert learning_rate(flops) == pytest.approx(rate, rel=0.04)


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 200))
def test_evaluations_are_rare_and_happen(steps, accumulation, batches):
    interval = eval_interval(steps, accumulation, batches)
    assert 1 <= interval <= steps
    assert interval <= 1000
    if interval < min(steps, 1000):
        assert batches / 3 / (interval * accumulation) <= 0.05 + 1e-9
