import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimators.quality import effective_parameters, effective_tokens, repeated_loss
from fwplan.estimators.recipe import eval_batches, eval_interval, tokens_per_step
from fwplan.planning.laws import (
    effective_parameters_many,
    effective_tokens_many,
    eval_batches_many,
    evaluation_share_many,
    repeated_loss_many,
    tokens_for_loss,
    tokens_per_step_many,
)


@given(st.lists(st.tuples(st.floats(1e3, 1e13), st.floats(1e9, 1e24)), min_size=1, max_size=9))
def test_batches_are_the_recipes(rows):
    tokens, work = np.array(rows).T
    assert tokens_per_step_many(tokens, work).tolist() == [tokens_per_step(*row) for row in rows]


@given(st.lists(st.floats(1e6, 1e12), min_size=1, max_size=9), st.floats(1e6, 1e12))
def test_repetition_is_the_estimators(tokens, unique):
    many = effective_tokens_many(np.array(tokens), unique)
    assert many.tolist() == pytest.approx([effective_tokens(count, unique) for count in tokens])


@given(st.floats(1e6, 1e11), st.floats(2.2, 6), st.one_of(st.none(), st.floats(1e8, 1e12)))
def test_the_tokens_for_a_loss_reach_it(parameters, law, unique):
    tokens = float(tokens_for_loss(np.array([parameters]), law, unique)[0])
    if np.isfinite(tokens):
        assert repeated_loss(parameters, tokens, unique) == pytest.approx(law, abs=1e-5)
    else:
        assert repeated_loss(parameters, 1000 * unique if unique else 1e30, unique) >= law - 1e-5


_ROWS = st.lists(st.tuples(st.floats(1e6, 1e11), st.floats(1e6, 1e13)), min_size=1, max_size=9)


@given(_ROWS, st.one_of(st.none(), st.floats(1e6, 1e12)))
def test_losses_are_the_estimators(rows, unique):
    parameters, tokens = np.array(rows).T
    worth = effective_parameters_many(parameters, tokens, unique)
    assert worth.tolist() == pytest.approx([effective_parameters(*row, unique) for row in rows])
    many = repeated_loss_many(parameters, tokens, unique)
    assert many.tolist() == pytest.approx([repeated_loss(*row, unique) for row in rows])


@given(st.integers(1, 10**6), st.integers(1, 512), st.integers(1, 2**20))
def test_evaluations_are_the_recipes(steps, accumulation, tokens):
    batches = eval_batches(steps, accumulation, tokens)
    assert int(eval_batches_many(np.array([steps]), accumulation, tokens)[0]) == batches
    share = batches / 3 / (accumulation * eval_interval(steps, accumulation, batches))
    assert float(evaluation_share_many(np.array([steps]), accumulation, batches, None)[0]) == pytest.approx(share)
