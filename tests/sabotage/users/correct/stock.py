"""Stock of warehouses: an event of one warehouse changes several of its items.

Events are published with the warehouse as their key, so that the changes of one warehouse keep one
order; the table says that its items belong to those events.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from appliers.applier import Appliers
from binlog.envelope import Event

Item = dict[str, Any]
Key = dict[str, Any]
Pieces = Annotated[int, Meta(ge=1, le=1_000)]
Sku = Annotated[str, Meta(min_length=1, max_length=20)]


class Received(Struct):
    skus: list[Sku]
    pieces: Pieces


class Picked(Struct):
    sku: Sku
    pieces: Pieces


class Counted(Struct):
    sku: Sku
    pieces: Annotated[int, Meta(ge=0, le=1_000)]


stock = Appliers()
stock.table("stock", owner=lambda key: ("", {"warehouse": key["warehouse"]}))


def items_of(event: Event) -> list[Key]:
    """Every SKU once, however often the delivery names it."""
    return [{**event.key, "sku": sku} for sku in sorted(set(event.data["skus"]))]


def item_of(event: Event) -> Key:
    return {**event.key, "sku": event.data["sku"]}


@stock.on(Received, table="stock", keys=items_of)
def received(item: Item | None, event: Event, key: Key) -> Item:
    shelf = item or {**key, "pieces": 0, "missing": 0}
    return {**shelf, "pieces": shelf["pieces"] + event.data["pieces"]}


@stock.on(Picked, table="stock", key=item_of)
def picked(item: Item | None, event: Event, key: Key) -> Item:
    shelf = item or {**key, "pieces": 0, "missing": 0}
    found = min(shelf["pieces"], event.data["pieces"])
    return {
        **shelf,
        "pieces": shelf["pieces"] - found,
        "missing": shelf["missing"] + event.data["pieces"] - found,
    }


@stock.on(Counted, table="stock", key=item_of)
def counted(item: Item | None, event: Event, key: Key) -> Item:
    return {**key, "pieces": event.data["pieces"], "missing": 0}
