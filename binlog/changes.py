"""A change or an event from Python arguments: what applications pass to a `Producer`.

    producer.append(put_item("orders", {"id": 7, "total": Decimal("12.50")}, key="id"))
    producer.append(update_item("orders", {"id": 7}, {"Add": {"visits": 1}}))
    producer.append(event("OrderPaid", {"order": 7}, {"by": "card"}))

All take ``event_id`` (default: a new UUIDv7), ``meta`` (a map of anything), ``expect`` (the version
that the item must have; 0: absent or deleted) and ``now_ms`` (the event's own time; default: now).
All raise `RefusedError` for what `binlog.actions` refuses. Many at once are made by
`binlog.actions.build_many`, at a fraction of the time.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from binlog.actions import BATCH_WRITE, EVENT, ActionBuilder
from binlog.checked import Checked
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.input import new_event_id


def put_item(
    table: str,
    item: Mapping[str, Any],
    *,
    key: str | Sequence[str],
    event_id: str | None = None,
    meta: Mapping[str, Any] | None = None,
    expect: int | None = None,
    now_ms: int | None = None,
) -> Envelope:
    """Put a whole item. ``key`` names its key attribute, or its two, the partition key first."""
    fields = {"Action": PUT_ITEM, "Data": item, "Id": event_id, "Meta": meta, "Expect": expect}
    return _build(table, _names(key), fields, now_ms)[0]


def delete_item(
    table: str,
    key: Mapping[str, Any],
    *,
    event_id: str | None = None,
    meta: Mapping[str, Any] | None = None,
    expect: int | None = None,
    now_ms: int | None = None,
) -> Envelope:
    """Delete the item of that key, ``{"id": 7}``, whether it is there or not."""
    fields = {"Action": DELETE_ITEM, "Key": key, "Id": event_id, "Meta": meta, "Expect": expect}
    return _build(table, None, fields, now_ms)[0]


def update_item(
    table: str,
    key: Mapping[str, Any],
    change: Mapping[str, Any],
    *,
    event_id: str | None = None,
    meta: Mapping[str, Any] | None = None,
    expect: int | None = None,
    now_ms: int | None = None,
) -> Envelope:
    """Change some attributes, with DynamoDB's meaning; an absent item is made.

    ``change`` is ``{"Set": {name: value}, "Remove": [name], "Add": {name: number or set},
    "Delete": {name: set}}``; sections may be left out.
    """
    fields = {
        "Action": UPDATE_ITEM,
        "Key": key,
        "Data": change,
        "Id": event_id,
        "Meta": meta,
        "Expect": expect,
    }
    return _build(table, None, fields, now_ms)[0]


def batch_write(
    table: str,
    elements: Sequence[Mapping[str, Any]],
    *,
    key: str | Sequence[str],
    event_id: str | None = None,
    meta: Mapping[str, Any] | None = None,
    now_ms: int | None = None,
) -> Checked:
    """Put items and delete keys, ``{"Delete": {"id": 7}}``: one envelope an element.

    All are checked before any is made. Nothing makes them atomic afterwards; they share
    ``meta.batch``, the event id, and theirs are that and their place in the batch.
    """
    fields = {"Action": BATCH_WRITE, "Data": list(elements), "Id": event_id, "Meta": meta}
    return _build(table, _names(key), fields, now_ms)


def event(
    event_type: str,
    key: Mapping[str, Any],
    data: object = None,
    *,
    schema: int = 1,
    table: str | None = None,
    event_id: str | None = None,
    meta: Mapping[str, Any] | None = None,
    expect: int | None = None,
    now_ms: int | None = None,
) -> Envelope:
    """A domain event. Events of one ``table`` and ``key`` keep their order.

    ``data`` may be typed, a Struct or a dataclass for instance: see `binlog.typed`.
    """
    fields = {
        "Action": EVENT,
        "Type": event_type,
        "Schema": schema,
        "Key": key,
        "Data": data,
        "Id": event_id,
        "Meta": meta,
        "Expect": expect,
    }
    return _build(table, None, fields, now_ms)[0]


def _names(key: str | Sequence[str]) -> tuple[str, ...]:
    return (key,) if isinstance(key, str) else tuple(key)


def _build(
    table: str | None,
    key_names: tuple[str, ...] | None,
    fields: dict[str, Any],
    now_ms: int | None,
) -> Checked:
    builder = ActionBuilder(table=table, key_names=key_names, new_id=new_event_id)
    return builder.build(fields, time.time_ns() // 1_000_000 if now_ms is None else now_ms)
