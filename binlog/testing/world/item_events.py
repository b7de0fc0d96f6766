"""Events for a few items in three tables: they collide, and hit every action on every kind of state.

An item has a number ``n``, a string set ``s`` and anything under ``m``, so that no event is poison
(`poison_event` makes those). Sums cross the bounds of short and of 64-bit integers and stay below
38 digits. Expected versions are small, so that some are met.
"""

from __future__ import annotations

from decimal import Decimal
from functools import cache
from typing import Any

from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.values import encode_value

TABLES = ("orders", "stock.level", "orders.old")
IDS = "aeh"  # of orders, one in each of three partitions
NUMBERS: tuple[Any, ...] = (
    0,
    1,
    -2,
    7,
    Decimal("0.1"),
    Decimal("-3.25"),
    10**18 - 1,
    2**63,
    -(2**64),
    10**33,
)
MEMBERS = ("x", "y", "é")
NESTED: tuple[Any, ...] = (
    None,
    True,
    "text",
    b"\x00\xff",
    [1, Decimal("1.5"), {"deep": [None]}],
    {"b": 1, "a": {"é": frozenset({1, Decimal("2.5")})}},
    frozenset({b"1", b"2"}),
)


_CONTENTS = len(NUMBERS) * len(NESTED)  # then they come again


def item_event(a: int, b: int, c: int) -> Envelope:
    """One of many; three small numbers decide which."""
    table, key, event_type, data = _content(a % 48, b % 16, c % _CONTENTS)
    expect = None
    if b % 5 == 0:
        expect = 0 if c % 3 == 0 else c % 16
    return Envelope(f"id{c % 6}", event_type, 1, table, key, data, None, expect)


@cache
def _key(place: tuple[int, int | None]) -> tuple[dict[str, Any], bytes]:
    name, at = place
    key: dict[str, Any] = {"id": IDS[name]} if at is None else {"id": IDS[name], "at": at}
    return key, encode_value(key)


@cache  # some thousands, and worlds make millions of these events
def _content(a: int, kind: int, c: int) -> tuple[str, bytes, str, bytes | None]:
    """Table, key, type and data. Items of the last table have the keys of the first one's."""
    is_stock = a % 8 == 0
    named, key = _key((a // 8 % 3, a // 8 % 2) if is_stock else (a // 8 % 3, None))
    event_type, data = _meaning(named, kind, c)
    table = TABLES[1] if is_stock else TABLES[2 * (a % 8 == 1)]
    return table, key, event_type, None if data is None else encode_value(data)


def _meaning(key: dict[str, Any], kind: int, c: int) -> tuple[str, dict[str, Any] | None]:
    number, members = NUMBERS[c % len(NUMBERS)], frozenset(MEMBERS[: 1 + c % 3])
    nested = NESTED[c % len(NESTED)]
    if kind < 5:
        item: dict[str, Any] = {**key, "n": number}
        if kind % 2:
            item |= {"s": members, "m": nested}
        return PUT_ITEM, item
    if kind < 7:
        return DELETE_ITEM, None
    changes: list[dict[str, Any]] = [
        {"Set": {"n": number, "m": nested}},
        {"Remove": ["m"]},
        {"Add": {"n": number}},
        {"Add": {"n": number}, "Set": {"m": nested}, "Delete": {"s": members}},
        {"Add": {"s": members}},
        {"Delete": {"s": members}},
        {"Remove": ["n", "s"], "Set": {"m": nested}},
        {},
        {"Add": {"n": number, "s": members}, "Remove": ["gone"]},
    ]
    return UPDATE_ITEM, changes[kind - 7]


def poison_event(a: int, c: int) -> Envelope:
    """An event that no item of these can take, for one of several reasons."""
    key = {"id": IDS[a % 3]}
    data = [
        {"Add": {"id": 1}},  # a key attribute
        {"Delete": {"n": frozenset({"x"})}, "Set": {"s": 1}, "Add": {"n": frozenset({1})}},
        {"Set": {"n": 1}, "Remove": ["n"]},  # twice
        {"Update": {"n": 1}},
    ][c % 4]
    return Envelope(f"poison{c}", UPDATE_ITEM, 1, TABLES[0], encode_value(key), encode_value(data))
