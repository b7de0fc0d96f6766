"""The peer `eventsourcing` in the style of its README: `Aggregate`, `@event`, `Application`.

An aggregate is a row of the table; its decorated methods are the actions. The state of an event is
JSON, ids are UUIDs made from the row's key, everything by the library's defaults. Two kindnesses:
aggregates stay in memory while events are appended (the README reads each one back before it is
changed), and replay folds the notification log in long pages, all rows in one pass, which is twice
as fast as the README's `repository.get` for one row after another.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from scripts.benchmarks.workload import Action, Items, change_item

PAGE = 5_000
"""Notifications a query, as in the msgspec style."""


class Order(Aggregate):
    """One row: an item, or None when it is deleted."""

    @event("Placed")
    def __init__(self, name: str, item: dict[str, Any] | None) -> None:
        self.name = name
        self.item = item

    @staticmethod
    def create_id(name: str) -> UUID:
        """The row's UUID."""
        return uuid5(NAMESPACE_OID, name)

    @event("Put")
    def put(self, item: dict[str, Any]) -> None:
        """Replace the item."""
        self.item = item

    @event("Updated")
    def update(self, change: dict[str, Any]) -> None:
        """Set, add to and remove attributes."""
        self.item = change_item({"id": self.name} if self.item is None else self.item, change)

    @event("Deleted")
    def delete(self) -> None:
        """Remove the item."""
        self.item = None


class Orders(Application[UUID]):
    """The application of the README."""

    log_section_size = PAGE


def open_orders(file: Path) -> Orders:
    """The application on an SQLite file, made when it is not there."""
    return Orders(env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(file)})


def append(app: Orders, batches: Iterable[list[Action]]) -> int:
    """Trigger every action on its aggregate, one transaction a batch. Returns the count."""
    orders: dict[str, Order] = {}
    count = 0
    for batch in batches:
        touched: dict[str, Order] = {}
        for action in batch:
            name: str = action["Key"]["id"]
            known = orders.get(name)
            touched[name] = orders[name] = _act(known, name, action)
        app.save(*touched.values())
        count += len(batch)
    return count


def _act(order: Order | None, name: str, action: Action) -> Order:
    kind, data = action["Action"], action.get("Data", {})
    if kind == "PutItem":
        item = {**data, **action["Key"]}
        if order is None:
            return Order(name=name, item=item)
        order.put(item=item)
    elif kind == "DeleteItem":
        if order is None:
            return Order(name=name, item=None)
        order.delete()
    else:
        if order is None:
            return Order(name=name, item=change_item(dict(action["Key"]), data))
        order.update(change=data)
    return order


def replay(app: Orders) -> Items:
    """Fold the whole notification log, in order, by the events' own `mutate`."""
    orders: dict[UUID | str, Order | None] = {}
    select, to_event = app.notification_log.select, app.mapper.to_domain_event
    known = orders.get
    start = 1
    while notifications := select(start, PAGE):
        for notification in notifications:
            past: Any = to_event(notification)
            orders[past.originator_id] = past.mutate(known(past.originator_id))
        start = notifications[-1].id + 1
    return {order.name: order.item for order in orders.values() if order and order.item is not None}
