"""What an application does to an item: the plain thing that producer and reference are both given.

The producer is given its envelope; the reference folds the action itself, by rules that are spelt
out here once more and share no code with the project's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random
from typing import Any, TypeAlias

import msgspec

from binlog.changes import delete_item, event, put_item, update_item
from binlog.envelope import Envelope

TABLE = "orders"
Item: TypeAlias = dict[str, Any]
Fold: TypeAlias = Callable[[Item | None, Item, Any], Item | None]
"""Item before (``None``: there is none), key, data; gives the item after."""


class Action(msgspec.Struct, frozen=True, kw_only=True):
    """``type`` is PutItem, UpdateItem, DeleteItem or an event of the drill's own."""

    type: str
    key: str
    data: Any = None
    schema: int = 1
    table: str = TABLE

    def envelope(self, event_id: str) -> Envelope:
        """As a producer takes it."""
        key = {"id": self.key}
        match self.type:
            case "PutItem":
                return put_item(self.table, {**key, **self.data}, key="id", event_id=event_id)
            case "UpdateItem":
                return update_item(self.table, key, self.data, event_id=event_id)
            case "DeleteItem":
                return delete_item(self.table, key, event_id=event_id)
            case _:
                return event(
                    self.type,
                    key,
                    self.data,
                    schema=self.schema,
                    table=self.table,
                    event_id=event_id,
                )

    def fold(self, item: Item | None, own: Mapping[str, Fold]) -> Item | None:
        """The item after it."""
        key = {"id": self.key}
        match self.type:
            case "PutItem":
                return {**key, **self.data}
            case "DeleteItem":
                return None
            case "UpdateItem":
                after = {**(key if item is None else item), **self.data.get("Set", {})}
                for name, value in self.data.get("Add", {}).items():
                    after[name] = after.get(name, 0) + value
                return after
            case _:
                return own[self.type](item, key, self.data)


Source: TypeAlias = Callable[[Random, str], Iterator[Action]]
"""What one producer does, without end: by its random numbers, on keys that begin with its name."""


def orders(random: Random, name: str, *, keys: int = 40) -> Iterator[Action]:
    """Orders that are placed, paid piece by piece, and now and then gone.

    ``last`` is another number in each event of a producer, so that an item tells which event it is
    the state after.
    """
    there: set[str] = set()
    number = 0
    while True:
        number += 1
        key = f"{name}-{int(keys * random.random() ** 2)}"
        chance = random.random()
        if key not in there:
            there.add(key)
            data = {"n": 1, "total": random.randint(1, 500), "last": number, "by": name}
            yield Action(type="PutItem", key=key, data=data)
        elif chance < 0.04:
            there.discard(key)
            yield Action(type="DeleteItem", key=key)
        else:
            change = {"Add": {"n": 1, "total": random.randint(1, 9)}, "Set": {"last": number}}
            yield Action(type="UpdateItem", key=key, data=change)
