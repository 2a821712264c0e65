import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimators.quality import effective_tokens, law_loss
from fwplan.planning.laws import effective_tokens_many, law_loss_many, tokens_for_loss, tokens_per_step_many
from fwplan.recipe import tokens_per_step


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
        assert law_loss(parameters, effective_tokens(tokens, unique)) == pytest.approx(law, abs=1e-5)
    else:
        assert law_loss(parameters, effective_tokens(1e30, unique)) >= law - 1e-9


def test_losses_are_the_estimators():
    assert law_loss_many(np.array([124e6]), np.array([5e9]))[0] == pytest.approx(law_loss(124e6, 5e9))
