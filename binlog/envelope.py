"""An event as it travels: the fact, with what orders, names and types it.

An `Envelope` is what a producer takes and what a frame decodes to. `key` and `data` are canonical
bytes (see `binlog.values`), encoded once at publish and passed on undecoded until an applier needs
them. An `Event` is the same fact after the sequencer: numbered, decoded, for people and appliers.
"""

from __future__ import annotations

from typing import Any

import msgspec

PUT_ITEM = "PutItem"
DELETE_ITEM = "DeleteItem"
UPDATE_ITEM = "UpdateItem"
ITEM_TYPES = frozenset({PUT_ITEM, DELETE_ITEM, UPDATE_ITEM})
CONTROL_PREFIX = "binlog."
TYPE_BYTES_MAX = 255
ID_BYTES_MAX = 255


class Envelope(msgspec.Struct, frozen=True, gc=False):
    """One event, not yet numbered.

    ``data`` is canonical bytes: of the whole item (key included) for PutItem; of a map with
    ``Set``, ``Remove``, ``Add``, ``Delete`` for UpdateItem; ``None`` for DeleteItem; of any value
    for a domain event. ``expect`` is the version the item must have (0: absent or deleted).
    ``meta`` is canonical bytes of a map, or ``None``. ``time_ms`` is the event's own time.
    """

    id: str
    type: str
    schema: int
    table: str  # "" for a domain event that names none
    key: bytes
    data: bytes | None
    meta: bytes | None = None
    expect: int | None = None
    time_ms: int = 0

    @property
    def is_control(self) -> bool:
        return self.type.startswith(CONTROL_PREFIX)


class Event(msgspec.Struct, frozen=True, gc=False):
    """One numbered event, decoded and upcast to the newest schema version that is known."""

    partition: int
    offset: int
    version: int  # timeline << 48 | offset
    id: str
    type: str
    schema: int
    table: str
    key: dict[str, Any]
    data: Any
    meta: dict[str, Any] | None
    expect: int | None
    time_ms: int
    arrival_ms: int
    session: str  # "32 hex.generation"
    number: int
