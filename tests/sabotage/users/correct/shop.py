"""Orders of a shop: placed, paid in a currency, shipped in parcels, cancelled."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from appliers.applier import ApplierError, Appliers
from binlog.envelope import Event

Item = dict[str, Any]


class Line(Struct):
    sku: str
    pieces: Annotated[int, Meta(ge=0, le=1_000)]
    cents: Annotated[int, Meta(ge=0, le=1_000_000)]


class Placed(Struct):
    lines: list[Line]
    tags: Annotated[frozenset[str], Meta(min_length=1)]
    prices: dict[str, Annotated[int, Meta(ge=0, le=1_000_000)]]
    note: str | None = None


class Paid(Struct):
    cents: Annotated[int, Meta(ge=0, le=100_000_000)]
    currency: Literal["EUR", "SEK", "JPY"]
    discount: Decimal | None = None


class Shipped(Struct):
    parcels: Annotated[int, Meta(ge=0, le=50)]
    carriers: list[str | int]


class Cancelled(Struct):
    reason: str = ""


shop = Appliers()
EXACT = Context(prec=30, rounding=ROUND_HALF_EVEN)  # ours: nobody's else decides how we round
CENT = Decimal("0.01")
PER_EURO = {"EUR": Decimal(1), "SEK": Decimal("11.4"), "JPY": Decimal(161)}


def day_of(event: Event) -> str:
    return datetime.fromtimestamp(event.time_ms // 1000, tz=UTC).strftime("%Y-%m-%d")


@shop.on(Placed, table="orders")
def placed(item: Item | None, event: Event) -> Item:
    lines = event.data["lines"]
    tags = sorted(event.data["tags"])
    prices = event.data["prices"]
    return {
        **event.key,
        "state": "placed",
        "lines": len(lines),
        "cents": sum(line["pieces"] * line["cents"] for line in lines),
        "label": ", ".join(tags),
        "longest": max(tags, key=lambda tag: (len(tag), tag)),
        "cheapest": min(prices, key=lambda sku: (prices[sku], sku)) if prices else None,
        "day": day_of(event),
        "note": event.data.get("note"),
        "changes": 0 if item is None else item["changes"] + 1,
    }


@shop.on(Paid, table="orders")
def paid(item: Item | None, event: Event) -> Item:
    if item is None:
        raise ApplierError("paid before it was placed")
    euros = EXACT.divide(Decimal(event.data["cents"]) * CENT, PER_EURO[event.data["currency"]])
    discount = Decimal(event.data.get("discount") or 0)
    return {
        **item,
        "state": "paid",
        "euros": euros.quantize(CENT, context=EXACT),
        "is_discounted": discount > 0,
    }


@shop.on(Shipped, table="orders")
def shipped(item: Item | None, event: Event) -> Item:
    if item is None:
        raise ApplierError("shipped before it was placed")
    parcels = event.data["parcels"]
    return {
        **item,
        "state": "shipped",
        "cents_a_parcel": item["cents"] // parcels if parcels else None,
        "carriers": sorted(event.data["carriers"], key=str),
    }


@shop.on(Cancelled, table="orders")
def cancelled(item: Item | None, event: Event) -> None:
    return None
