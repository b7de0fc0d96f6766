"""What went wrong with one event, in words: which law, where in the user's code, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from appliers.routing import Routing
from binlog.errors import BinlogError, PoisonError
from binlog.fields import encode_key
from binlog.testing.laws.instruments import Failure, Instruments, Who
from binlog.testing.laws.places import place_of, say_function
from binlog.testing.words import say_item


class Trouble(msgspec.Struct, frozen=True):
    """An event that broke a law by itself."""

    index: int  # of the event
    law: str
    what: str  # one sentence
    differences: list[str]
    do: str


def trouble_of(error: PoisonError, index: int, routing: Routing, tools: Instruments) -> Trouble:
    """Why the real fold refused an event that no applier declared impossible."""
    failure = tools.error
    if failure is not None:
        return _raised(failure, index)
    returned = tools.returned  # noted now: who owns the item is asked of the user's code, too
    table, key = str(error.details["table"]), error.details["key"]
    if isinstance(key, Mapping) and not _owns(routing, error, table, key):
        return Trouble(
            index,
            "owned",
            f"{_who(returned)} touches an item that events of this key do not own",
            [str(error.details["reason"])],
            "let key= or keys= name items of the event's own key, or declare the table's owner "
            "(see appliers.ownership): two events that touch one item must be in one partition, "
            "or their order is anybody's guess",
        )
    return _refused_result(error, index, returned)


def _owns(routing: Routing, error: PoisonError, table: str, key: Mapping[str, Any]) -> bool:
    try:
        encoded = encode_key(dict(key), None)
    except BinlogError:
        return True  # no key at all: another trouble
    partition = error.details["partition"]
    assert isinstance(partition, int)
    return not table or routing.ownership.owns(partition, table, encoded)


def _raised(failure: Failure, index: int) -> Trouble:
    who, error = failure.who, failure.error
    lines = [f"{type(error).__name__}: {error}"]
    place = place_of(error.__traceback__)
    if place is not None:
        lines.append(place)
    if who.role == "applier":
        lines.append(f"it was given {say_item(failure.item)}")
    if who.role == "upcaster":
        do = (
            "an upcaster must take whatever data of its version were ever published: a replay "
            "meets them all, and cannot go past one that fails"
        )
    else:
        do = (
            "return an item for every event that can happen; for one that cannot be applied, "
            "raise ApplierError with the reason, and the check takes it as declared"
        )
    return Trouble(index, "total", f"{say_who(who)} raised {type(error).__name__}", lines, do)


def _refused_result(error: PoisonError, index: int, returned: tuple[Who, Any] | None) -> Trouble:
    reason = str(error.details["reason"])
    if returned is None:
        return Trouble(
            index, "total", "the event cannot be folded", [reason], "mend it, or its applier"
        )
    who, result = returned
    if who.role == "applier":
        lost = _lost_key(error, result)
        if lost:
            return Trouble(
                index,
                "storable",
                f"{say_who(who)} does not keep the item's key",
                lost,
                "return the whole item, with its key attributes as they were: "
                "{**event.key, ...}, or {**item, ...}",
            )
        return Trouble(
            index,
            "storable",
            f"{say_who(who)} returned an item that DynamoDB cannot hold",
            [reason],
            "items hold text, int, Decimal, bytes, bool, None, lists, maps and sets, 38 digits, "
            "32 levels, 400 KB; no floats",
        )
    if who.role == "upcaster":
        what, do = "returned data that no event can hold", "return plain values; no floats"
    elif who.role == "transform":
        what = "returned no event that could have been published"
        do = "return the event with other data, meta or table and nothing else, or None; no floats"
    else:
        what, do = "returned what is no key", "return a map of one or two attributes: text, number"
    return Trouble(index, "storable", f"{say_who(who)} {what}", [reason], do)


def _lost_key(error: PoisonError, result: object) -> list[str]:
    key = error.details["key"]
    if not isinstance(result, Mapping) or not isinstance(key, Mapping):
        return []
    return [
        f"{name}: expected {value!r}, found {result[name]!r}"
        if name in result
        else f"{name}: missing, expected {value!r}"
        for name, value in key.items()
        if name not in result or result[name] != value
    ]


def _who(returned: tuple[Who, Any] | None) -> str:
    return "an applier" if returned is None else say_who(returned[0])


def say_who(who: Who) -> str:
    """``the applier of OrderPaid (paid, shop.py:31)``."""
    name = {"owner": f"the owner function of table {who.of}"}.get(
        who.role, f"the {who.role} {'function ' if who.role in ('key', 'keys') else ''}of {who.of}"
    )
    if who.schema:
        name += f" from schema {who.schema}"
    return f"{name} ({say_function(who.function)})"
