"""The peer `eventsourcing` in its msgspec style, twice.

Its documentation shows the style as Struct events with a timestamp, an immutable Struct aggregate
folded by a function, and a mapper of one's own that writes the events with msgspec.

- `DOCUMENTED` is that, with the library's default ids (UUID, made from the row's key) and its
  `Application.save`. The goals of our table are measured against it.
- `TUNED` is as fast as we could make it without changing the library: ids are text, and events go
  to the event store directly, past the protocol checks of `save`. It is printed beside the other,
  without a goal, so that a reader can see what the peer can do.

Both have what costs them nothing: msgpack (a third faster than the documentation's JSON), one
decoder an event class, short topics, versions counted in a dict so that appending reads nothing
back, and a replay that folds the notification log in long pages, all rows in one pass; asking the
repository for one aggregate after another is slower. SQLite is a file in WAL mode
with `synchronous=FULL` (the defaults), so a commit is durable, as ours is.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

import msgspec
from eventsourcing.application import Application
from eventsourcing.domain import datetime_now_with_tzinfo
from eventsourcing.persistence import Mapper, StoredEvent, Transcoder
from eventsourcing.utils import get_topic

from scripts.benchmarks.workload import Action, Items, change_item

PAGE = 5_000
"""Notifications a query; from 500 to 50,000 it makes no difference that can be measured."""


class RowEvent(msgspec.Struct, frozen=True):
    """What happened to one row. Id and version are columns of the store as well."""

    originator_id: UUID
    originator_version: int
    timestamp: datetime
    data: dict[str, Any] | None


class RowPut(RowEvent, frozen=True):
    """The whole item."""


class RowUpdated(RowEvent, frozen=True):
    """Set, Add and Remove of attributes."""


class RowDeleted(RowEvent, frozen=True):
    """The row is gone."""


class TextEvent(msgspec.Struct, frozen=True):
    """The same with the row's key itself as its id."""

    originator_id: str
    originator_version: int
    timestamp: datetime
    data: dict[str, Any] | None


class TextPut(TextEvent, frozen=True):
    """The whole item."""


class TextUpdated(TextEvent, frozen=True):
    """Set, Add and Remove of attributes."""


class TextDeleted(TextEvent, frozen=True):
    """The row is gone."""


class Row(msgspec.Struct, frozen=True):
    """The aggregate: immutable, one made for every event."""

    id: UUID | str
    version: int
    created_on: datetime
    modified_on: datetime
    item: dict[str, Any] | None


class Style(msgspec.Struct, frozen=True):
    """One way of using the library."""

    name: str
    put: type[Any]
    updated: type[Any]
    deleted: type[Any]
    id_of: Callable[[str], UUID | str]
    id_type: str
    saves: bool = True
    """Through `Application.save`; otherwise straight into the event store."""


def _uuid_of(name: str) -> UUID:
    return uuid5(NAMESPACE_OID, name)


DOCUMENTED = Style("eventsourcing, msgspec", RowPut, RowUpdated, RowDeleted, _uuid_of, "uuid")
TUNED = Style("the same, tuned", TextPut, TextUpdated, TextDeleted, str, "text", saves=False)

_PUTS = (RowPut, TextPut)
_DELETES = (RowDeleted, TextDeleted)
_EVENTS: tuple[type[Any], ...] = (*_PUTS, RowUpdated, TextUpdated, *_DELETES)
_TOPICS = {cls: cls.__name__ for cls in _EVENTS}
_encode = msgspec.msgpack.Encoder().encode
_decoders = {cls.__name__: msgspec.msgpack.Decoder(type=cls).decode for cls in _EVENTS}


class MsgspecMapper(Mapper[Any]):
    """Struct to stored row and back, without an intermediate dict."""

    def to_stored_event(self, domain_event: Any) -> StoredEvent:
        """The row of an event."""
        return StoredEvent(
            originator_id=domain_event.originator_id,
            originator_version=domain_event.originator_version,
            topic=_TOPICS[type(domain_event)],
            state=_encode(domain_event),
        )

    def to_domain_event(self, stored_event: StoredEvent) -> Any:
        """The event of a row."""
        return _decoders[stored_event.topic](stored_event.state)


class NoTranscoder(Transcoder):
    """The application insists on a transcoder; the mapper above does not ask it."""

    def encode(self, obj: Any) -> bytes:
        """Never called."""
        raise NotImplementedError(type(obj))

    def decode(self, data: bytes) -> Any:
        """Never called."""
        raise NotImplementedError(len(data))


class Rows(Application[Any]):
    """An application whose aggregates are the rows of one table."""

    log_section_size = PAGE


def open_rows(file: Path, style: Style) -> Rows:
    """The peer's application on an SQLite file, made when it is not there."""
    return Rows(
        env={
            "PERSISTENCE_MODULE": "eventsourcing.sqlite",
            "SQLITE_DBNAME": str(file),
            "ORIGINATOR_ID_TYPE": style.id_type,
            "MAPPER_TOPIC": get_topic(MsgspecMapper),
            "TRANSCODER_TOPIC": get_topic(NoTranscoder),
        }
    )


def append(app: Rows, style: Style, batches: list[list[Action]]) -> int:
    """Store every action, one transaction a batch; durable on return. Returns the count."""
    classes = {
        "PutItem": style.put,
        "UpdateItem": style.updated,
        "DeleteItem": style.deleted,
    }
    versions: dict[str, int] = {}
    id_of, now = style.id_of, datetime_now_with_tzinfo
    count = 0
    for batch in batches:
        events = []
        for action in batch:
            name: str = action["Key"]["id"]
            version = versions[name] = versions.get(name, 0) + 1
            cls = classes[action["Action"]]
            events.append(cls(id_of(name), version, now(), item_or_change(action)))
        if style.saves:
            app.save(*events)
        else:
            app.events.put(events)
        count += len(events)
    return count


def item_or_change(action: Action) -> dict[str, Any] | None:
    """An event's payload: the item with its key (an id may not tell it), a change, or nothing."""
    data: dict[str, Any] | None = action.get("Data")
    if action["Action"] == "PutItem" and data is not None:
        return {**data, **action["Key"]}
    if data is not None:
        return {**data, "Key": action["Key"]}
    return None


def replay(app: Rows) -> Items:
    """Fold the whole notification log, in order, into the live rows."""
    rows: dict[UUID | str, Row] = {}
    select, to_event = app.notification_log.select, app.mapper.to_domain_event
    known = rows.get
    start = 1
    while notifications := select(start, PAGE):
        for notification in notifications:
            event: Any = to_event(notification)
            rows[event.originator_id] = mutate(event, known(event.originator_id))
        start = notifications[-1].id + 1
    return {row.item["id"]: row.item for row in rows.values() if row.item is not None}


def mutate(event: Any, row: Row | None) -> Row:
    """The row after the event: the mutator function of the peer's functional style."""
    version = 0 if row is None else row.version
    if event.originator_version != version + 1:
        raise ValueError(f"{event.originator_id}: {event.originator_version} after {version}")
    kind = type(event)
    item: dict[str, Any] | None
    if kind in _PUTS:
        item = event.data
    elif kind in _DELETES:
        item = None
    else:
        before = None if row is None else row.item
        item = change_item(event.data["Key"] if before is None else before, event.data)
    at = event.timestamp
    created = at if row is None else row.created_on
    return Row(event.originator_id, event.originator_version, created, at, item)
