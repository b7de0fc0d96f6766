"""Given, when, then: one sentence, the real fold, and differences by attribute."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from appliers.applier import ApplierError, Appliers
from appliers.ownership import by_key
from binlog.changes import event, put_item
from binlog.envelope import Envelope, Event
from binlog.errors import RefusedError
from binlog.testing.given import given
from binlog.testing.violation import Violation

shop = Appliers()


@shop.on("Placed", table="orders")
def placed(item: dict[str, Any] | None, event: Event) -> dict[str, Any]:
    return {**event.key, "total": event.data["total"], "lines": event.data.get("lines", [])}


@shop.on("Paid", table="orders")
def paid(item: dict[str, Any] | None, event: Event) -> dict[str, Any] | None:
    if item is None:
        raise ApplierError("an order that was never placed")
    return {**item, "paid_by": event.data["by"]}


@shop.on("Cancelled", table="orders")
def cancelled(item: dict[str, Any] | None, event: Event) -> None:
    return None


@shop.on(
    "Split",
    table="parts",
    keys=lambda event: [{"order": event.key["id"], "part": n} for n in event.data],
    owner=lambda key: ("orders", {"id": key["order"]}),
)
def split(item: object, event: Event, key: dict[str, Any]) -> dict[str, Any]:
    return key


def of_order(event_type: str, data: Any = None, **more: Any) -> Envelope:
    return event(event_type, {"id": "a"}, data, table="orders", **more)


PLACED = of_order("Placed", {"total": 30, "lines": [{"n": 1}]})
PAID = of_order("Paid", {"by": "card"})
ITEM = {"id": "a", "total": 30, "lines": [{"n": 1}]}


def test_one_line_is_a_sentence() -> None:
    given(shop, PLACED).when(PAID).then({**ITEM, "paid_by": "card"})
    given(shop).when(PAID).then_refused("never placed").then_refused()
    given(shop, PLACED, PAID).when(of_order("Cancelled")).then(None)
    given(shop, PLACED).when(of_order("Cancelled")).then(None, table="orders", key={"id": "a"})


def test_numbers_are_compared_by_value() -> None:
    given(shop).when(of_order("Placed", {"total": 30})).then(
        {"id": "a", "total": Decimal("30.00"), "lines": []}
    )


def test_built_in_actions_are_events_too() -> None:
    given(shop, put_item("orders", {"id": "a", "n": 1}, key="id")).when(PAID).then(
        {"id": "a", "n": 1, "paid_by": "card"}
    )


def test_several_items_are_named_one_by_one() -> None:
    when = given(shop).when(of_order("Split", [1, 2]))
    key = {"order": "a", "part": 2}
    when.then(key, key=key).then({"order": "a", "part": 1}, key={"order": "a", "part": 1})
    with pytest.raises(RefusedError, match=r"touches 2 items .*say which is meant"):
        when.then(key)


def test_an_item_that_the_event_does_not_touch_can_be_asked_for() -> None:
    other = event("Placed", {"id": "b"}, {"total": 1}, table="orders")
    given(shop, PLACED).when(other).then(ITEM, table="orders", key={"id": "a"})


def test_an_event_that_expects_another_version_leaves_the_item_as_it_is() -> None:
    given(shop, PLACED).when(of_order("Paid", {"by": "card"}, expect=7)).then(ITEM)
    given(shop, PLACED).when(of_order("Paid", {"by": "x"}, expect=1)).then({**ITEM, "paid_by": "x"})


def test_every_difference_has_a_line_with_its_place() -> None:
    with pytest.raises(Violation) as caught:
        given(shop, PLACED).when(PAID).then(
            {"id": "a", "total": "30", "lines": [{"n": 2}], "state": "paid"}
        )
    found = caught.value
    assert found.differences[:-1] == (
        "lines[0].n: expected 2, found 1",
        "state: missing, expected paid",
        'total: expected "30" (text), found 30 (a number)',
        "paid_by: should not be there, found card",
    )
    assert found.story == (
        "given Placed of orders {id: a}: {lines: [{n: 1}], total: 30}",
        "when Paid of orders {id: a}: {by: card}",
    )
    with pytest.raises(Violation, match="expected no item, found"):
        given(shop).when(PLACED).then(None)


def test_a_claim_that_is_not_so_fails() -> None:
    with pytest.raises(Violation, match="is not refused"):
        given(shop).when(PLACED).then_refused()
    with pytest.raises(Violation, match="refused for another reason"):
        given(shop).when(PAID).then_refused("paid twice")
    with pytest.raises(Violation, match="is refused") as caught:
        given(shop).when(PAID).then(None)
    assert "never placed" in caught.value.differences[0]
    assert "then_refused()" in caught.value.do


def test_an_exception_is_shown_with_its_line() -> None:
    claims: list[Callable[[], object]] = [
        lambda: given(shop).when(of_order("Placed", {"sum": 1})).then(None),
        lambda: given(shop).when(of_order("Placed", {"sum": 1})).then_refused(),
        lambda: given(shop, of_order("Placed", {})).when(PAID).then(None),
    ]
    for claim in claims:
        with pytest.raises(Violation, match="raised KeyError") as caught:
            claim()
        assert "test_kit_given.py" in str(caught.value)
        assert 'event.data["total"]' in str(caught.value)
        assert caught.value.law == "total"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: given(shop, of_order("Payed")), "no applier takes Payed.*Cancelled, Paid, Placed"),
        (lambda: given(shop).when(of_order("Payed")), "no applier takes Payed"),
        (lambda: given(Appliers()).when(PAID), "nothing at all"),
        (lambda: given(shop).when({"id": 1}), "is no event"),  # type: ignore[arg-type]
        (lambda: given(7), "no set of appliers"),  # type: ignore[arg-type]
        (lambda: given(shop).when(PLACED).then({"id": 1.5}), "float.*the expected item"),
        (lambda: given(shop).when(PLACED).then(7), "is no item"),  # type: ignore[arg-type]
        (lambda: given(shop).when(PLACED).then(ITEM, table="order"), "no table 'order'.*orders"),
        (
            lambda: given(shop).when(PLACED).then(ITEM, key={"idd": "a"}),
            "no item of orders has the key attributes idd.*have id",
        ),
        (lambda: given(shop, PAID).when(PLACED).then(ITEM), "given is what its applier refuses"),
        (lambda: given(shop).when(of_order("Split", [])).then(None), "touches 0 items"),
    ],
)
def test_a_wrong_use_is_told(wrong: Callable[[], object], message: str) -> None:
    with pytest.raises(RefusedError, match=message):
        wrong()


def test_an_item_of_another_owner_is_told() -> None:
    """The mistake of everybody's first hour: events without the table that owns the items."""
    with pytest.raises(Violation, match="publish it with that table and key") as caught:
        given(shop).when(event("Placed", {"id": "a"}, {"total": 1})).then(None)
    assert caught.value.law == "owned"
    owned = Appliers()
    owned.on("Placed", table="orders", owner=by_key)(placed)
    given(owned).when(event("Placed", {"id": "a"}, {"total": 1})).then(
        {"id": "a", "total": 1, "lines": []}
    )
