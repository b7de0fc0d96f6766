"""Envelopes of the user's types: what a producer takes, where the appliers look for it."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from appliers.applier import Appliers
from appliers.ownership import by_key
from binlog.changes import event
from binlog.checked import check_envelope
from binlog.envelope import Envelope
from binlog.errors import RefusedError
from binlog.testing.types.key_strategies import key_maps
from binlog.testing.types.strategies import event_strategy, events
from binlog.values import decode_value, encode_value
from tests.kit.strategy_types import Loose, Note, Placed
from tests.kit.test_kit_strategies import sample, smallest, twenty


class Paid(Struct):
    by: str


class PaidOnce(Struct):
    payer: str
    old: Decimal


class PaidFirst(Struct):
    who: str


class Counted(Struct):
    n: int


class Stray(Struct):
    n: int


def keep(item: Any, event: Any) -> Any:
    return {**event.key, "data": event.data}


def shop() -> Appliers:
    made = Appliers()
    made.on(Placed, table="orders")(keep)
    made.on(Paid, table="orders")(keep)
    made.upcaster("Paid", 1, data=PaidFirst)(lambda data: {"payer": data["who"], "old": 1})
    made.upcaster(Paid, 2, data=PaidOnce)(lambda data: {"by": data["payer"]})
    return made


def drawn(strategy: st.SearchStrategy[Envelope], count: int = 200) -> list[Envelope]:
    """At least ``count``, twenty to an example: of single ones Hypothesis gives none twice."""
    return [envelope for some in sample(twenty(strategy), -(-count // 20)) for envelope in some]


def anything_goes() -> Appliers:
    made = Appliers()
    for kind in (Loose, Note, Placed):
        made.on(kind, table="wild")(keep)
    return made


@given(events(anything_goes(), key=("id", "at")))
def test_every_envelope_is_one_that_a_producer_takes(envelope: Envelope) -> None:
    """The check of hand-made envelopes is the judge: limits, and canonical bytes of every part."""
    check_envelope(envelope)
    assert envelope.table == "wild"
    assert set(decode_value(envelope.key)) == {"id", "at"}


def test_the_smallest_event_is_the_plainest() -> None:
    """Of the first type, in its newest version, of the first key, without an odd thing about it."""
    assert smallest(events(shop(), [Paid, Placed])) == event(
        "Paid", {"id": "a"}, {"by": ""}, schema=3, table="orders", event_id="e0", now_ms=0
    )


def test_all_declared_types_and_versions_take_part() -> None:
    """An upcaster that no example meets is not proved."""
    met = Counter((e.type, e.schema) for e in drawn(events(shop())))
    assert set(met) == {("OrderPlaced", 1), ("Paid", 1), ("Paid", 2), ("Paid", 3)}
    shape = {e.schema: set(decode_value(e.data or b"")) for e in drawn(events(shop(), [Paid]))}
    assert shape == {1: {"who"}, 2: {"payer", "old"}, 3: {"by"}}


def test_only_current_versions_where_that_is_asked_for() -> None:
    """For appliers whose log begins today."""
    assert {e.schema for e in drawn(events(shop(), ["Paid"], schemas="current"))} == {3}


def test_ids_come_again_with_other_content_and_some_events_expect_a_version() -> None:
    """People put an order number into the id; and a small version is sometimes the right one."""
    found = drawn(events(shop(), [Paid]), 2_000)
    contents: dict[str, set[bytes | None]] = {}
    for envelope in found:
        contents.setdefault(envelope.id, set()).add(envelope.data)
    assert len(contents) > 20
    assert max(map(len, contents.values())) > 1
    expects = Counter(envelope.expect for envelope in found)
    assert 0.05 < 1 - expects[None] / 2_000 < 0.25
    assert {0, 1, 2, 3, 4} < set(expects)
    assert 0.05 < sum(e.meta is not None for e in found) / 2_000 < 0.25
    keys = Counter(e.key for e in found).most_common(3)
    assert sum(count for _, count in keys) > 1_500
    assert len({e.time_ms for e in found}) > 3
    assert {e.expect for e in drawn(events(shop(), expects=False))} == {None}


def test_the_table_is_the_one_whose_events_may_touch_the_items() -> None:
    """Otherwise every event would be refused for its partition."""
    made = Appliers()
    made.on(Placed, table="orders")(keep)
    made.on(Counted, table="counts", owner=by_key)(keep)
    made.on(Paid, table="lines", owner=lambda key: ("orders", {"id": key["order"]}))(keep)
    made.on(Note)(keep)
    made.event_type(Stray)
    tables = {(e.type, e.table) for e in drawn(events(made))}
    assert tables == {
        ("OrderPlaced", "orders"), ("Counted", ""), ("Paid", "orders"), ("Note", "items"), ("Stray", ""),
    }  # fmt: skip
    assert {e.table for e in drawn(events(made, table="other"))} == {"other"}


def test_an_owner_that_does_not_tell_asks_for_the_table() -> None:
    """Rather than a guess."""
    made = Appliers()
    made.on(Paid, table="lines", owner=lambda key: ("t" + 1, key))(keep)  # type: ignore[operator]
    with pytest.raises(RefusedError, match=r"the owner of table 'lines' does not tell .*: give it"):
        events(made)
    assert {e.table for e in drawn(events(made, table="orders"), 5)} == {"orders"}


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("order", {"order"}),
        (["p", "s"], {"p", "s"}),
        ({"p": st.integers(0, 2), "s": st.just(b"x")}, {"p", "s"}),
        (st.fixed_dictionaries({"p": st.sampled_from("xy")}), {"p"}),
    ],
)
def test_keys_are_named_or_given(key: Any, names: set[str]) -> None:
    """One attribute, two, a strategy for each, or whole maps."""
    found = [decode_value(e.key) for e in drawn(events(shop(), key=key), 60)]
    assert all(set(key) == names for key in found)
    assert 1 < len({tuple(key.values()) for key in found}) < 60
    assert all(set(key) == names for key in sample(key_maps(key, hostile=False), 20))


def test_hostile_keys_are_equal_when_normalized() -> None:
    """And are two keys all the same."""
    for text in ("é", "e\u0301", "a\x00", "\U0001f600"):
        found = smallest(events(shop()), lambda e, text=text: e.key == encode_value({"id": text}))  # type: ignore[misc]
        assert found.id == "e0"
    plain = {decode_value(e.key)["id"] for e in drawn(events(shop(), hostile=False))}
    assert plain == {"a", "b", "c"}


def test_fields_reach_every_type_and_version() -> None:
    """Nested types and old versions by their own names; an event type's name is its whole data."""
    fields = {
        "Line.count": st.just(2),
        "PaidFirst.who": st.just("old"),
        "Paid": st.just(Paid(by="cash")),
        "OrderPlaced": st.just({"lines": []}),
    }
    seen = {
        (e.type, e.schema, repr(decode_value(e.data or b"")))
        for e in drawn(events(shop(), fields=fields))
        if e.schema != 2
    }
    assert seen == {
        ("OrderPlaced", 1, "{'lines': []}"), ("Paid", 1, "{'who': 'old'}"), ("Paid", 3, "{'by': 'cash'}"),
    }  # fmt: skip
    with pytest.raises(RefusedError, match=r"did you mean 'PaidFirst\.who'"):
        events(shop(), fields={"PaidFirst.wo": st.none()})


def test_refuses_types_that_the_appliers_do_not_take() -> None:
    """Events that nobody applies would prove nothing, and say nothing."""
    with pytest.raises(
        RefusedError, match=r"no applier takes events of type 'Stray': the type's tag"
    ):
        events(shop(), [Paid, Stray])
    with pytest.raises(RefusedError, match=r"'Payed' \(did you mean 'Paid'\?\)"):
        events(shop(), ["Payed"])
    with pytest.raises(RefusedError, match="there are no event types"):
        events(Appliers())


def test_refuses_a_version_whose_type_nobody_declares() -> None:
    """With the declaration to write."""
    made = Appliers()
    made.on("Paid", table="orders")(keep)
    with pytest.raises(RefusedError, match=r'event_type\("Paid", schema=1, data=THE_TYPE\)'):
        events(made)
    assert {e.type for e in drawn(events(made, [Paid]), 5)} == {"Paid"}
    made.upcaster("Paid", 1)(lambda data: data)
    with pytest.raises(RefusedError, match=r'upcaster\("Paid", from_version=1, data=THE_TYPE\)'):
        events(made, [Paid])
    assert {e.schema for e in drawn(events(made, [Paid], schemas="current"), 5)} == {2}


def test_what_a_check_is_given_as_events() -> None:
    """Nothing, types, or a strategy of envelopes."""
    rules = shop().build()
    assert {e.type for e in drawn(event_strategy(rules))} == {"OrderPlaced", "Paid"}
    assert {e.type for e in drawn(event_strategy(rules, [Placed], key="o"), 5)} == {"OrderPlaced"}
    mine = event("Paid", {"id": 1}, {"by": "x"})
    assert set(drawn(event_strategy(rules, st.just(mine)), 1)) == {mine}
    for wrong in ("Paid", {"Paid": 1}, 3):
        with pytest.raises(RefusedError, match="give a list of event types, or a strategy"):
            event_strategy(rules, wrong)
    with pytest.raises(RefusedError, match=r"a strategy in a list .*st.one_of"):
        event_strategy(rules, [events(rules)])
    with pytest.raises(RefusedError, match="the strategy of events gave a int"):
        drawn(event_strategy(rules, st.just(3)), 1)


def test_a_failing_draw_is_shown_in_a_few_lines() -> None:
    """Hypothesis prints what a failing draw came from; pools of hostile texts are no help."""
    assert len(repr(events(anything_goes()))) < 200


class Booked(Struct):
    seat: Annotated[int, Meta(ge=10, le=99)]
    guest: str
    note: str = ""


class Freed(Struct):
    seat: Annotated[int, Meta(ge=10, le=99)]


class Renamed(Struct, rename={"number": "seat"}):
    number: str


def test_a_field_named_like_the_key_holds_its_value() -> None:
    """And its type says what keys there are; one of another type is left as it is."""
    made = Appliers()
    for kind in (Booked, Freed, Renamed):
        made.on(kind, table="seats")(keep)
    found = drawn(events(made, [Booked, Freed, Renamed], key=("seat", "guest")), 400)
    keys = [(e.type, decode_value(e.key), decode_value(e.data or b"")) for e in found]
    assert {type_ for type_, _, _ in keys} == {"Booked", "Freed", "Renamed"}
    for type_, key, data in keys:
        assert type(key["seat"]) is int
        assert 10 <= key["seat"] <= 99
        assert (data["seat"] == key["seat"]) == (type_ != "Renamed")
        assert type_ != "Booked" or data["guest"] == key["guest"]
    few = sample(twenty(events(made, [Freed], key="seat")), 20)
    assert all(len({e.key for e in some}) <= 3 for some in few)
    assert any(len({e.key for e in some}) > 1 for some in few)


def test_a_field_of_ones_own_decides_what_keys_there_are() -> None:
    made = Appliers()
    made.on(Freed, table="seats")(keep)
    mine = {"Freed.seat": st.sampled_from([10, 20])}
    found = drawn(events(made, [Freed], key="seat", fields=mine), 100)
    assert {decode_value(e.key)["seat"] for e in found} == {10, 20}
