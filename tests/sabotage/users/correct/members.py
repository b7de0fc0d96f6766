"""Members of a club: an event type in its third version, and what the first two looked like."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from appliers.applier import Appliers
from binlog.envelope import Event

Item = dict[str, Any]


class JoinedV1(Struct):
    name: str  # first and last in one


class JoinedV2(Struct):
    first: str
    last: str
    invited_by: str | None = None


class Joined(Struct):
    first: str
    last: str
    plan: Literal["free", "family", "pro"]
    invited_by: str | None = None


class Earned(Struct):
    points: Annotated[int, Meta(ge=0, le=10_000)]
    by: Literal["visit", "gift"] = "visit"


class Left(Struct):
    pass


members = Appliers()
members.event_type(Joined, schema=3)
GUESTS = {"free": 0, "family": 4, "pro": 1}


@members.upcaster("Joined", 1, data=JoinedV1)
def split_name(data: Item) -> Item:
    first, _, last = data["name"].partition(" ")
    return {"first": first, "last": last}


@members.upcaster("Joined", 2, data=JoinedV2)
def give_plan(data: Item) -> Item:
    return {**data, "plan": "free"}


@members.on(Joined, table="members")
def joined(item: Item | None, event: Event) -> Item:
    plan = event.data["plan"]
    return {
        **event.key,
        "name": f"{event.data['first']} {event.data['last']}".strip(),
        "plan": plan,
        "guests": GUESTS[plan],
        "invited_by": event.data.get("invited_by"),
        "points": 0 if item is None else item["points"],
    }


@members.on(Earned, table="members")
def earned(item: Item | None, event: Event) -> Item:
    member = item or {**event.key, "plan": "free", "points": 0}
    return {**member, "points": member["points"] + event.data["points"]}


@members.on(Left, table="members")
def left(item: Item | None, event: Event) -> None:
    return None
