from hypothesis import given
from hypothesis import strategies as st

from fwplan.tape.size import ONE, ZERO, expression, letter, number, size

LETTERS = {name: letter(name) for name in "BTC"}
NUMBERS = {"B": 3, "T": 5, "C": 7}
terms = st.lists(st.tuples(st.lists(st.sampled_from("BTC"), max_size=3), st.integers(-9, 9)), max_size=4)


def made(parts):
    total = ZERO
    for letters, count in parts:
        product = number(count)
        for name in letters:
            product = product * LETTERS[name]
        total = total + product
    return total


def value(one):
    return eval(repr(one), {"__builtins__": {}}, NUMBERS)


@given(terms, terms)
def test_sums_and_products_are_those_of_the_numbers(a, b):
    left, right = made(a), made(b)
    assert value(left + right) == value(left) + value(right)
    assert value(left * right) == value(left) * value(right)
    assert value(left - right) == value(left) - value(right)
    assert value(left + 4) == value(left) + 4


@given(terms)
def test_equal_sizes_are_one_object(parts):
    assert made(parts) is made(reversed(parts))
    assert made(parts) - made(parts) is ZERO
    assert made(parts) * ONE is made(parts)


def test_an_expression_is_one_factor():
    rounded = expression("-(-T // 4) * 4")
    assert value(rounded * LETTERS["C"] + 1) == 8 * 7 + 1
    assert size([(("B", "T"), 2)]) is LETTERS["T"] * 2 * LETTERS["B"]
