"""What a transform was to take out is in no reason either, and no malformed event carries it along."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliers.applier import ApplierError, Appliers
from appliers.fold import Fold
from appliers.letters import DeadLetter
from appliers.redaction import pseudonym
from binlog.changes import event
from binlog.envelope import UPDATE_ITEM, Event
from binlog.errors import RefusedError
from tests.appliers_core.fold_support import envelope
from tests.appliers_core.test_transform_declared import VARIABLE, folded

CARD = "4711-0815"


@pytest.fixture(autouse=True)
def secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "0123456789abcdef-a secret")


def parked(raising: Any) -> DeadLetter:
    """The letter of an event whose transform does ``raising`` with the card."""
    shop = Appliers()

    @shop.transforms("Paid", version=1)
    def without_card(paid: Event) -> Event:
        raising(paid.data["card"])
        return msgspec.structs.replace(paid, data=None)

    @shop.on("Paid", table="shop", version=1)
    def pay(item: Any, paid: Event) -> Any:
        return item

    paid = event("Paid", {"id": 1}, {"card": CARD}, table="shop")
    fold: Fold = folded(shop.build(), paid, parks=True)
    [letter] = fold.parking.letters
    return letter


@pytest.mark.parametrize(
    "raising",
    [int, lambda card: {}[card], lambda card: (_ for _ in ()).throw(ValueError(card))],
    ids=["conversion", "key", "own words of a built-in class"],
)
def test_python_shows_the_value_that_it_could_not_take_and_a_reason_does_not(raising: Any) -> None:
    """A reason is in the store, in the log, and on whoever's screen that looks at what is parked."""
    letter = parked(raising)
    assert CARD not in letter.reason
    assert CARD.encode() not in letter.event
    assert "Error at line " in letter.reason
    assert "of test_transform_reasons.py" in letter.reason


def test_an_error_that_is_raised_for_people_says_what_it_says() -> None:
    """Whoever writes `ApplierError` writes what is to be read."""

    def refuse(_: str) -> None:
        raise ApplierError("no such card")

    assert parked(refuse).reason == "no such card"


def test_an_upcasters_error_is_no_more_talkative() -> None:
    """It meets the event before the transform does."""
    shop = Appliers()
    shop.event_type("Paid", schema=2)

    @shop.upcaster("Paid", 1)
    def up(data: Any) -> Any:
        return {"card": int(data["card"])}

    @shop.transforms("Paid", version=1)
    def same(paid: Event) -> Event:
        return paid

    @shop.on("Paid", table="shop", version=1)
    def pay(item: Any, paid: Event) -> Any:
        return item

    paid = event("Paid", {"id": 1}, {"card": CARD}, table="shop")
    [letter] = folded(shop.build(), paid, parks=True).parking.letters
    assert CARD not in letter.reason
    assert "ValueError at line " in letter.reason


def test_a_delete_that_is_no_set_goes_no_further() -> None:
    """No producer writes one; what does would have had its operand kept in a dead letter."""
    shop = Appliers()
    shop.transform("shop", version=1, redact={"card": pseudonym(VARIABLE)})
    forged = envelope(UPDATE_ITEM, {"id": "a"}, {"Delete": {"card": CARD}}, table="shop")
    [letter] = folded(shop.build(), forged, parks=True).parking.letters
    assert CARD.encode() not in letter.event
    assert CARD not in letter.reason
    with pytest.raises(RefusedError, match="members of a set"):
        pseudonym(VARIABLE).deleted(CARD)
