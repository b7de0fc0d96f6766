"""Calls of the user's functions for one event: the part of `tables` about rules.

Each call gets arguments decoded for it alone, and whatever a function raises is a property of the
event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from appliers.applier import ApplierError, Rule, Rules
from binlog.envelope import Envelope, Event
from binlog.errors import BinlogError
from binlog.fields import encode_key
from binlog.testing.world.cell import Cell, Poison
from binlog.values import decode_value, encode_item, encode_value


class Asked:
    """Whatever goes wrong in the user's code is a property of the event."""

    def __init__(self, who: str) -> None:
        self.who = who

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if not isinstance(error, Exception) or isinstance(error, MemoryError | Poison):
            return
        said = error.what if isinstance(error, BinlogError) else str(error)
        name = type(error).__name__
        declared = isinstance(error, ApplierError)
        reason = said if declared and said else f"{self.who} failed ({name}: {said})"
        raise Poison(reason, declared=declared) from error


class Delivery:
    """One event with all that the user's functions may see of it."""

    __slots__ = ("_data", "_schema", "arrival_ms", "envelope", "number", "offset", "partition",
                 "rules", "session")  # fmt: skip

    def __init__(
        self,
        rules: Rules,
        partition: int,
        offset: int,
        envelope: Envelope,
        arrival_ms: int,
        session: object,
        number: int,
    ) -> None:
        self.rules = rules
        self.partition = partition
        self.offset = offset
        self.envelope = envelope
        self.arrival_ms = arrival_ms
        self.session = session
        self.number = number
        self._data: bytes | None = None
        self._schema = 0  # not yet brought up to date

    def event(self) -> Event:
        """Decoded for one call: the function may change what is in it."""
        if not self._schema:
            self._bring_up_to_date()
        envelope, data = self.envelope, self._data
        try:
            key = decode_value(envelope.key)
            meta = None if envelope.meta is None else decode_value(envelope.meta)
            decoded = None if data is None else decode_value(data)
        except BinlogError as error:
            raise Poison(error.what) from error
        if type(key) is not dict or (meta is not None and type(meta) is not dict):
            raise Poison("a key or meta that is no map")
        return Event(
            self.partition,
            self.offset,
            self.offset,
            envelope.id,
            envelope.type,
            self._schema,
            envelope.table,
            key,
            decoded,
            meta,
            envelope.expect,
            envelope.time_ms,
            self.arrival_ms,
            str(self.session),
            self.number,
        )

    def _bring_up_to_date(self) -> None:
        envelope = self.envelope
        data, schema = envelope.data, envelope.schema
        newest = self.rules.schemas.current(envelope.type)
        if newest is not None and schema != newest:
            if schema > newest:
                raise Poison(f"{envelope.type} of schema version {schema}, known are {newest}")
            with Asked(f"an upcaster of {envelope.type!r}"):
                for step in self.rules.schemas.steps(envelope.type)[schema - 1 :]:
                    value = None if data is None else decode_value(data)
                    data = encode_value(step.upcast(value), outer=1)
            schema = newest
        self._data, self._schema = data, schema

    def table(self, rule: Rule) -> str:
        """The table of the items that ``rule`` sends the event to."""
        table = rule.table or self.envelope.table
        if not table:
            raise Poison(f"{self.envelope.type} names no table, and its applier none")
        return table

    def keys(self, rule: Rule) -> list[bytes]:
        """The keys of the items that ``rule`` sends the event to."""
        if rule.key is None and rule.keys is None:
            return [self.envelope.key]
        event = self.event()
        with Asked("the key function"):
            named: Iterable[Mapping[str, Any]] = (
                rule.keys(event) if rule.keys is not None else [rule.key(event)]  # type: ignore[misc]
            )
            keys = [encode_key(key, None) for key in named]
        if len(set(keys)) < len(keys):
            raise Poison("its applier's keys name an item twice")
        return keys

    def applied(self, rule: Rule, key: bytes, before: Cell | None) -> Cell:
        """The item after the event."""
        event = self.event()
        with Asked("the applier"):
            # All that the function gets is decoded for it.
            data = None if before is None else before.data
            item = None if data is None else decode_value(data)
            after: object = (
                rule.apply(item, event, decode_value(key))
                if rule.takes_key
                else rule.apply(item, event)
            )
            if after is None:
                return Cell(self.offset, self.partition)
            if not isinstance(after, Mapping):
                raise Poison(f"the applier returned a {type(after).__name__}")
            encoded = encode_item(after)
            whole = decode_value(encoded)
            named = {name: whole[name] for name in decode_value(key) if name in whole}
            if not named or encode_value(named) != key:
                raise Poison("the applier changed a key attribute, or left it out")
        return Cell(self.offset, self.partition, source=encoded, data=encoded, weight=len(encoded))
