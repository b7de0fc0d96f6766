"""Accounts of a bank: whole cents, and a balance that never goes below zero.

An event is a fact: a withdrawal that the balance does not cover did happen, and is counted as
refused. So no applier here raises.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from appliers.applier import Appliers
from binlog.envelope import Event

Item = dict[str, Any]
Cents = Annotated[int, Meta(ge=1, le=1_000_000)]


class Opened(Struct):
    owner: str
    kind: Literal["current", "savings"] = "current"


class Deposited(Struct):
    cents: Cents


class Withdrawn(Struct):
    cents: Cents
    fee: Annotated[int, Meta(ge=0, le=500)] = 0


class Closed(Struct):
    reason: str | None = None


bank = Appliers()
ZERO = {"balance": 0, "paid_out": 0, "refused": 0}
LIMITS = {"current": 500_000, "savings": 100_000}


def blank(event: Event) -> Item:
    """An account of which nothing is known yet: its opening may be published late."""
    return {**event.key, "owner": "", "kind": "current", "state": "open", **ZERO}


@bank.on(Opened, table="accounts")
def opened(item: Item | None, event: Event) -> Item:
    account = item or blank(event)
    kind = event.data.get("kind", "current")
    return {**account, "owner": event.data["owner"], "kind": kind}


@bank.on(Deposited, table="accounts")
def deposited(item: Item | None, event: Event) -> Item:
    account = item or blank(event)
    if account["state"] == "closed":
        return {**account, "refused": account["refused"] + 1}
    return {**account, "balance": account["balance"] + event.data["cents"]}


@bank.on(Withdrawn, table="accounts")
def withdrawn(item: Item | None, event: Event) -> Item:
    account = item or blank(event)
    cents = event.data["cents"] + event.data.get("fee", 0)
    if cents > min(account["balance"], LIMITS[account["kind"]]):
        return {**account, "refused": account["refused"] + 1}
    return {**account, "balance": account["balance"] - cents}


@bank.on(Closed, table="accounts")
def closed(item: Item | None, event: Event) -> Item:
    account = item or blank(event)
    paid_out = account["paid_out"] + account["balance"]
    account = {**account, "balance": 0, "paid_out": paid_out}
    return {**account, "state": "closed", "reason": event.data.get("reason")}
