"""A small domain, carts and their lines, so that a seeded world has appliers of a user in it.

It has what rules can have: two schema versions and an upcaster, an applier for several items of
another table, which the cart owns, expected versions, deletes, and an event that cannot be applied
to a cart that is not there. What an event says of itself, down to its session, is in the items.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from appliers.applier import ApplierError, Appliers
from binlog.envelope import Envelope, Event
from binlog.values import encode_value

TABLE, LINES = "carts", "cart.lines"
_WARES = ("pear", "fig", "é")
_carts = Appliers()
_carts.event_type("CartFilled", schema=2)


def owner_of_line(key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Lines are touched by the events of their cart."""
    return TABLE, {"id": key["id"]}


@_carts.upcaster("CartFilled", from_version=1)
def count_one_each(data: dict[str, Any]) -> dict[str, Any]:
    """In version 1 every ware was there once."""
    return {"wares": dict.fromkeys(data["wares"], 1)}


@_carts.on("CartFilled", table=TABLE)
def fill(item: Mapping[str, Any] | None, event: Event) -> dict[str, Any]:
    """A cart begins when it is first filled."""
    units = sum(event.data["wares"].values())
    before = {**event.key, "units": 0} if item is None else item
    by = [event.session, event.number, event.version, event.schema, event.id, event.time_ms]
    units += before["units"]
    return {**before, "units": units, "last": event.data["wares"], "by": by}


@_carts.on(
    "CartFilled",
    table=LINES,
    owner=owner_of_line,
    keys=lambda event: [{"id": event.key["id"], "ware": ware} for ware in event.data["wares"]],
)
def fill_line(
    item: Mapping[str, Any] | None, event: Event, key: Mapping[str, Any]
) -> dict[str, Any]:
    """A line counts how often its ware came, and how many units."""
    before = {**key, "units": 0, "times": 0} if item is None else item
    units = before["units"] + event.data["wares"][key["ware"]]
    return {**before, "units": units, "times": before["times"] + 1}


@_carts.on("CartEmptied", table=TABLE)
def empty(_item: Mapping[str, Any] | None, _event: Event) -> None:
    """The cart is gone; its lines stay."""


@_carts.on("CartNamed", table=TABLE)
def name(item: Mapping[str, Any] | None, event: Event) -> dict[str, Any]:
    """Also before it is filled."""
    return {**({**event.key, "units": 0} if item is None else item), "name": event.data}


@_carts.on("CartSent", table=TABLE)
def send(item: Mapping[str, Any] | None, event: Event) -> dict[str, Any]:
    """What was never filled cannot be sent."""
    if item is None:
        raise ApplierError("there is no such cart")
    return {**item, "sent": item.get("sent", 0) + 1, "at": event.arrival_ms}


CARTS = _carts.build()


def cart_event(a: int, b: int, c: int) -> Envelope:
    """One of many; three small numbers decide which."""
    kind, data = _content(b % 64, c)
    return Envelope(
        id=f"cart{c % 6}",
        type=kind,
        schema=2 if kind == "CartFilled" and c % 2 else 1,
        table=TABLE,
        key=_KEYS[a % 3],
        data=data,
        expect=None if a % 7 else (0 if c % 2 else c % 16),
    )


_KEYS = [encode_value({"id": name}) for name in "abe"]  # one in each of three partitions


@lru_cache(maxsize=100_000)
def _content(kind: int, c: int) -> tuple[str, bytes | None]:
    event_type, data = _meaning(kind, c)
    return event_type, None if data is None else encode_value(data)


def _meaning(kind: int, c: int) -> tuple[str, Any]:
    wares = _WARES[c % 3 : c % 3 + 2]
    if kind < 24:
        counts = {ware: 1 + (c + place) % 4 for place, ware in enumerate(wares)}
        return "CartFilled", {"wares": counts if c % 2 else list(wares)}
    if kind < 30:
        return "CartEmptied", None
    if kind < 62:
        return "CartNamed", f"cart {c % 5}"
    return ("CartSent", None) if kind == 62 else ("CartSeen", c)  # which no applier takes
