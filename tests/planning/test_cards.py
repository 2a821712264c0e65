import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))

from cards import PAGE, page

import fwplan
from fwplan.errors import FwplanError


def test_the_page_of_cards_is_what_its_command_writes():
    assert PAGE.read_text(encoding="utf-8") == page()


def test_a_larger_card_never_expects_a_higher_loss():
    found = fwplan.suggest_cards(["12", "24", "48"], tokens="10e9").suggestions
    losses = [suggestion.pick.law_loss for suggestion in found]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize(
    ("wishes", "message"),
    [
        ({"objective": "best"}, "unknown objective"),
        ({"objective": "cheapest"}, "go together"),
        ({"loss": 3.3}, "go together"),
        ({"epochs": 2.0}, "--epochs needs --data"),
        ({"budget": 2.0}, "--budget needs a price"),
        ({"kwh_price": -1.0}, "--kwh-price must be above 0"),
        ({"settings": ["micro_batch_size"]}, "cannot read --set"),
        ({"settings": ["speed=9"]}, "unknown field 'speed'"),
        ({"settings": ["max_steps=9"]}, "max_steps is not set with --set"),
    ],
)
def test_wishes_that_cannot_be(wishes, message):
    with pytest.raises(FwplanError, match=message):
        fwplan.suggest(vram=12, tokens=1e9, **wishes)
