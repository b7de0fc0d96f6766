"""A small log in memory, whose frames a test writes one by one, and a model of what they make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from binlog.actions import build_many
from binlog.clock import ManualClock
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.producer import Producer
from binlog.values import encode_value

Action = dict[str, Any]

PARAMS = Params(log_id="6b" * 16, partitions=3)


def new_log(clock: ManualClock | None = None) -> MemoryLog:
    return MemoryLog(PARAMS, clock=clock or ManualClock())


class Writer:
    """Appends each action as a frame of its own, so that a vector can lie between any two."""

    def __init__(self, log: MemoryLog, clock: ManualClock | None = None) -> None:
        self._log = log
        self._clock = clock or ManualClock()
        self._numbers = count(1)

    def append(self, actions: Iterable[Mapping[str, Any]]) -> list[tuple[int, int]]:
        """Partition of each, and how many of it were appended by now."""
        places = []
        with Producer(self._log, clock=self._clock) as producer:
            for action in actions:
                envelopes = build_many(
                    [action], table="users", now_ms=1, new_id=lambda: f"e{next(self._numbers)}"
                )
                [outcome] = producer.append_many(envelopes)
                places.append((outcome.partition, outcome.number))
        return places


def key_of(item: str) -> bytes:
    return encode_value({"id": item})


def put(item: str, *, table: str = "users", **values: Any) -> Action:
    return {"Action": "PutItem", "Table": table, "Key": {"id": item}, "Data": values}


def update(item: str, **sections: Any) -> Action:
    return {"Action": "UpdateItem", "Table": "users", "Key": {"id": item}, "Data": sections}


def delete(item: str) -> Action:
    return {"Action": "DeleteItem", "Table": "users", "Key": {"id": item}}


def event(event_type: str, item: str, **data: Any) -> Action:
    return {
        "Action": "Event",
        "Type": event_type,
        "Table": "users",
        "Key": {"id": item},
        "Data": data,
    }


def folded(actions: Iterable[Action]) -> dict[str, dict[str, Any]]:
    """What is live after ``actions`` (puts, deletes, updates that set and remove), by key."""
    items: dict[str, dict[str, Any]] = {}
    for action in actions:
        name = action["Key"]["id"]
        if action["Action"] == "PutItem":
            items[name] = {"id": name, **action["Data"]}
        elif action["Action"] == "DeleteItem":
            items.pop(name, None)
        else:
            item = {**items.get(name, {"id": name}), **action["Data"].get("Set", {})}
            for gone in action["Data"].get("Remove", []):
                item.pop(gone, None)
            items[name] = item
    return items
