"""The tape's own rules: who holds a storage keeps it alive, and what is repeated counts so often."""

import pytest

from fwplan.estimators.dtypes import BFLOAT16, FLOAT32, INT64
from fwplan.estimators.tape.eager import Eager
from fwplan.estimators.tape.size import ONE, ZERO, letter
from fwplan.estimators.tape.tape import Tape, Tensor

C, L = letter("C"), letter("L")


@pytest.fixture
def tape():
    return Tape(FLOAT32, FLOAT32, cuda=True)


def alive(tape, name=None):
    """Return how many tensors are alive, of one name or of all."""
    total = ZERO
    for event in tape.events:
        if name in {None, event.kind.name}:
            total = total + event.tensors
    return total


def test_a_storage_lives_as_long_as_somebody_holds_it(tape):
    x = tape.make("x", (C,), FLOAT32)
    other = x.alias()
    del x
    assert alive(tape) is ONE
    del other
    assert alive(tape) is ZERO


def test_what_is_repeated_is_alive_so_often_and_freed_so_often(tape):
    kept = []
    with tape.times(L):
        kept.append(tape.new("kept", (C,), FLOAT32))
        tape.make("passing", (C,), FLOAT32)
    assert alive(tape, "kept") is L
    assert alive(tape, "passing") is ZERO
    with tape.times(L):
        kept.clear()
    assert alive(tape) is ZERO


def test_a_forward_without_gradients_keeps_nothing(tape):
    ops, weight = Eager(tape, "flash"), tape.weight((C, C))
    x = tape.make("x", (letter("T"), C), FLOAT32)
    with tape.no_grad():
        y = ops.linear(x, weight, keeps="inputs", makes="outputs")
    del x
    assert alive(tape, "x") is ZERO
    y = ops.linear(y, weight, keeps="inputs", makes="more")
    assert alive(tape, "inputs") is ONE  # the first product, which the second keeps
    assert y.edge is not None


def test_a_backward_leaves_the_gradients_and_nothing_else(tape):
    ops, weight = Eager(tape, "flash"), tape.weight((C, C))
    y = ops.linear(tape.make("x", (letter("T"), C), FLOAT32), weight, keeps="inputs", makes="y")
    edge = y.edge
    del y
    tape.backward(edge, tape.make("ones", (letter("T"), C), FLOAT32))
    assert {event.kind.name for event in tape.events if alive(tape, event.kind.name) is not ZERO} == {
        "weights", "gradients",
    }  # fmt: skip
    assert weight.grad is not None


def _tied_gradient(products):
    """Return the tape after the backward of a weight that is used twice: its product's gradient waits."""
    tape = Tape(FLOAT32, products, cuda=True)
    ops, weight = Eager(tape, "flash"), tape.weight((letter("V"), C))
    x = ops.embedding(weight, tape.make("ids", (letter("T"),), INT64))
    logits = ops.linear(x, weight, keeps="head input", makes="logits")
    del x
    edge, shape = logits.edge, logits.shape
    del logits
    tape.backward(edge, tape.make("ones", shape, products))
    return tape


def test_a_tied_gradient_is_added_in_place_only_where_a_cast_made_it_a_tensor_of_its_own():
    made = [[event.kind.name for event in _tied_gradient(kind).events if event.made] for kind in (FLOAT32, BFLOAT16)]
    assert ["sum of the tied gradients" in names for names in made] == [True, False]


def test_an_output_of_several_views_gets_one_gradient(tape):
    ops, weight = Eager(tape, "flash"), tape.weight((2 * C, C))
    whole = ops.linear(tape.make("x", (letter("T"), C), FLOAT32), weight, keeps="inputs", makes="both")
    first, second = ops.split(whole, (C, C), "both")
    assert first.storage is second.storage is whole.storage
    assert isinstance(first, Tensor)
    assert (first.slot, second.slot) == (0, 1)
