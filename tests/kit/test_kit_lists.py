"""The lists that check_applier tries: all lengths, keys that meet, types that are left out."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Struct

from appliers.applier import Appliers
from binlog.changes import event
from binlog.envelope import Envelope
from binlog.pytest_plugin import SEED_BELOW
from binlog.testing import choice
from binlog.testing.check_applier import LISTS, RUNS
from binlog.testing.types.lists import AGAIN, LENGTHS, LIFE, event_lists, lives, simplest
from binlog.testing.types.strategies import events
from binlog.values import decode_value


class Opened(Struct):
    pass


class Paid(Struct):
    cents: Annotated[int, Meta(ge=1)]


class Shipped(Struct):
    parcels: int = 1


class Closed(Struct):
    pass


TYPES = [Opened, Paid, Shipped, Closed]


def drawn(strategy: st.SearchStrategy[list[Envelope]]) -> list[list[Envelope]]:
    """As check_applier draws them."""
    found: list[list[Envelope]] = []

    @choice.kit_settings(LISTS, max_examples=LISTS)
    @given(strategy)
    def test(some: list[Envelope]) -> None:
        found.append(some)

    for number in range(RUNS):
        hypothesis.seed(number * SEED_BELOW)(test)()
    return found


@pytest.fixture(scope="module")
def lists() -> list[list[Envelope]]:
    def kept(_item: Any, event: Any) -> Any:
        return event.key

    shop = Appliers()
    for kind in TYPES:
        shop.on(kind, table="orders")(kept)
    return drawn(event_lists(events(shop)))


def test_nearly_all_lists_are_different_and_none_is_empty(lists: list[list[Envelope]]) -> None:
    """Variants of one list find what that list finds."""
    assert len(lists) == RUNS * LISTS
    assert all(lists)
    shapes = {tuple((e.type, e.key, e.data) for e in some) for some in lists}
    assert len(shapes) > 0.75 * len(lists)


def test_lengths_are_spread(lists: list[list[Envelope]]) -> None:
    lengths = Counter(len(some) for some in lists)
    short = sum(count for length, count in lengths.items() if length <= 2)
    middling = sum(count for length, count in lengths.items() if 3 <= length <= max(LENGTHS))
    assert 0.05 < short / len(lists) < 0.5
    assert middling > 0.3 * len(lists)
    assert max(lengths) >= AGAIN


def test_keys_meet_and_types_follow_each_other(lists: list[list[Envelope]]) -> None:
    """What comes second happens often enough after what comes first, in the same item."""
    for first in TYPES:
        for second in TYPES:
            met = [
                some
                for some in lists
                if any(
                    one.type == first.__name__
                    and other.type == second.__name__
                    and one.key == other.key
                    for place, one in enumerate(some)
                    for other in some[place + 1 :]
                )
            ]
            assert len(met) >= 3, (first, second)


def test_some_lists_have_not_the_type_that_ends_everything(lists: list[list[Envelope]]) -> None:
    for kind in TYPES:
        left_out = [
            some
            for some in lists
            if len(some) >= 3 and kind.__name__ not in {event.type for event in some}
        ]
        assert len(left_out) >= 5


def test_the_events_of_a_long_list_are_events_of_their_own(lists: list[list[Envelope]]) -> None:
    """An applier that notes ids would take the rest for copies of the first."""
    for some in lists:
        if len(some) >= AGAIN:
            assert len({event.id for event in some}) == len(some)
            assert len({event.key for event in some}) == 1


def test_a_strategy_of_ones_own_is_drawn_from_as_it_is() -> None:
    given_ = [event("Paid", {"id": "a"}, {"n": n}, event_id=f"e{n}") for n in range(3)]
    found = drawn(event_lists(st.sampled_from(given_)))
    assert {event.id for some in found for event in some} == {"e0", "e1", "e2"}
    assert {len(some) for some in found} <= set(LENGTHS)
    assert len({len(some) for some in found}) > 5


def test_the_simplest_event_is_of_the_newest_version_first_and_keeps_its_place() -> None:
    class PaidV1(Struct):
        euros: int

    shop = Appliers()
    shop.event_type(Paid, schema=2)
    shop.upcaster("Paid", 1, data=PaidV1)(lambda data: {"cents": data["euros"] * 100 + 1})
    shop.on(Paid, table="orders")(lambda _item, event: event.key)
    old = event("Paid", {"id": "b"}, {"euros": 7}, table="orders", event_id="e9", now_ms=5)
    newer, own = simplest(events(shop), old)
    assert newer == event(
        "Paid", {"id": "b"}, {"cents": 1}, schema=2, table="orders", event_id="e9", now_ms=5
    )
    assert own == event("Paid", {"id": "b"}, {"euros": 0}, table="orders", event_id="e9", now_ms=5)


def test_an_event_that_repeats_its_key_is_moved_whole() -> None:
    class Placed(Struct):
        id: str
        total: int

    shop = Appliers()
    shop.on(Placed, table="orders")(lambda _item, event: event.key)
    lists_ = [
        [event("Placed", {"id": key}, {"id": key, "total": n}, table="orders")]
        for n, key in enumerate("abab")
    ]
    [life] = lives(lists_, events(shop))
    assert {decode_value(event.data or b"")["id"] for event in life} == {"a"}
    assert {decode_value(event.data or b"")["total"] for event in life} == {0, 1, 2, 3}


def placed(type_: str, key: str, n: int) -> Envelope:
    return event(type_, {"id": key}, {"n": n}, event_id=f"e{n}")


def test_a_life_has_one_key_and_leaves_out_each_type_once() -> None:
    short: list[Any] = [[placed("A", "a", 1), placed("B", "a", 2)], [placed("C", "a", 3)]]
    rest = [[placed("A", "b", 4)]]
    found = list(lives([*short, *rest]))
    assert all(len(life) == LIFE for life in found)
    assert all(len({event.key for event in life}) == 1 for life in found)
    types = [frozenset(event.type for event in life) for life in found[:-1]]
    assert set(types) == {frozenset(of) for of in ("ABC", "AB", "AC", "BC", "A", "B", "C")}
    assert len(types) == len(set(types))
    assert {event.id for event in found[-1]} == {"e4"}
