import pytest
from hypothesis import given
from hypothesis import strategies as st

from fwplan.estimators.quality import (
    EXCESS_DECAY,
    effective_parameters,
    effective_tokens,
    expected_loss,
    law_loss,
    optimal_parameters,
    repeated_loss,
    vocabulary_in_range,
)
from fwplan.estimators.tokens import fineweb_files, fineweb_pattern


@pytest.mark.parametrize(
    ("parameters", "tokens", "expected"),
    [(124e6, 2.5e9, 3.316), (124e6, 5e9, 3.146), (124e6, 10e9, 3.014), (350e6, 10e9, 2.790), (1558e6, 32e9, 2.423)],
)
def test_besiroglus_law(parameters, tokens, expected):
    assert law_loss(parameters, tokens) == pytest.approx(expected, abs=0.0006)


@pytest.mark.parametrize(("epochs", "worth"), [(1, 1), (2, 1.97), (4, 3.73), (8, 6.62), (16, 10.58), (40, 15.17)])
def test_muennighoffs_repetition(epochs, worth):
    assert effective_tokens(epochs * 1e9, 1e9) / 1e9 == pytest.approx(worth, abs=0.006)


@given(st.floats(1e6, 1e12), st.floats(1e6, 1e12))
def test_repetition_never_adds_tokens(tokens, unique):
    assert effective_tokens(tokens, unique) <= tokens * (1 + 1e-12)


def test_the_optimum_has_about_twenty_tokens_a_parameter():
    for tokens in (1e9, 1e10, 1e11):
        best = optimal_parameters(tokens)
        assert 15 < tokens / best < 30
        work = 6 * best * tokens  # and no other model is better for the same work
        assert all(law_loss(best, tokens) <= law_loss(best * x, work / (6 * best * x)) for x in (0.5, 0.9, 1.1, 2))


def test_excess_parameters_wear_off():
    enough = optimal_parameters(1e8)
    assert effective_parameters(0.9 * enough, 40e8, 1e8) == 0.9 * enough
    assert effective_parameters(1e9, 1e8, 1e8) == 1e9  # one epoch: all count
    assert effective_parameters(1e12, 40e8, 1e8) == pytest.approx(enough * (1 + EXCESS_DECAY))
    assert effective_parameters(1e9, 1.0001e8, 1e8) == pytest.approx(1e9, rel=1e-3)  # nothing jumps


@given(st.floats(0.01, 500), st.floats(1e8, 1e12), st.floats(1, 39), st.floats(1.001, 2))
def test_more_epochs_never_expect_a_higher_loss(times_optimal, unique, epochs, more):
    parameters = times_optimal * optimal_parameters(unique)
    less = repeated_loss(parameters, epochs * unique, unique)
    assert repeated_loss(parameters, min(40.0, more * epochs) * unique, unique) <= less + 1e-9


# modded-nanogpt's early AdamW record and llm.c's recheck; FineWeb validation, GPT-2 124M.
@pytest.mark.parametrize(("tokens", "measured"), [(5e9, 3.276), (10.26e9, 3.272)])
def test_the_interval_holds_the_measured_anchors(tokens, measured):
    loss = expected_loss(124e6, tokens)
    assert loss.low - 0.002 <= measured <= loss.high + 0.002
    assert loss.low < loss.point < loss.high


def test_far_below_the_laws_data_there_is_no_figure():
    assert expected_loss(3e6, 10e9) is None
    assert expected_loss(124e6, 1e6) is None
    assert expected_loss(124e6, 10e9, unique_tokens=1e6) is None


def test_fineweb_files_for_a_number_of_tokens():
    assert fineweb_files(700_000_000) == 1
    assert fineweb_files(10_000_000_000) == 14
    assert fineweb_pattern(1) == "sample/10BT/000_*.parquet"
    assert fineweb_pattern(5) == "sample/10BT/00[0-4]_*.parquet"
    assert fineweb_pattern(14) == "sample/10BT/*.parquet"
    assert fineweb_pattern(15) == "sample/100BT/*.parquet"


def test_vocabularies_near_gpt2s():
    assert all(vocabulary_in_range(size) for size in (40_000, 49_152, 50_257, 50_304, 50_432, 65_536, 70_000))
    assert not any(vocabulary_in_range(size) for size in (2, 65, 256, 32_000, 100_277, 128_256))
