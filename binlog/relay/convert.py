"""From a record to the events that it becomes.

| format | the record holds | and becomes |
|---|---|---|
| actions, items, dynamodb | JSON Lines, as `binlog append` takes them | an event a line |
| json | any JSON value | an event of the given type, with that as its data |
| raw | any bytes | an event of the given type, with them as its data |
| changes | a change of a DynamoDB table, as it writes them itself | a PutItem or DeleteItem of the given table |

An event of json or raw has the key ``{"partition_key": ...}`` of its record, so what one producer
kept in order under one key is in order here.

Ids follow from the record's place alone, so a relay that begins anew makes the same events: the
one event of a record is `relay_id`, of several they are `relay_id`/0, /1 and so on. An ``Id`` that
a line brings along is kept in ``Meta.relay``, with shard, sequence number and partition key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from binlog.actions import EVENT, ActionBuilder
from binlog.checked import Checked
from binlog.columns import columns_of, encode_body
from binlog.control import RELAY_TYPE
from binlog.envelope import Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.fields import check_type, encode_meta
from binlog.foreign import relay_id
from binlog.frame import HEADER_BYTES
from binlog.input import InputLines
from binlog.json_values import parse_line
from binlog.params import Params
from binlog.relay.changes import Changes
from binlog.relay.inbox import Inbound
from binlog.values import decode_value, encode_value

PayloadFormat: TypeAlias = Literal["actions", "items", "dynamodb", "json", "raw", "changes"]
FORMATS: tuple[PayloadFormat, ...] = get_args(PayloadFormat)
KEY_ATTRIBUTE = "partition_key"
META_NAME = "relay"
_EMPTY_KEY = encode_value({})

Convert: TypeAlias = Callable[[Inbound], Sequence[Envelope]]
"""The events of a record; `RefusedError` if it is none that can be read."""


def make_convert(
    *,
    payload: PayloadFormat = "actions",
    table: str | None = None,
    key_names: Sequence[str] | None = None,
    event_type: str | None = None,
) -> Convert:
    """How records of a format are read. ``table`` and ``key_names`` as `binlog append` has them.

    Raises:
        RefusedError: the format needs an event type, or has no use for one.
    """
    if payload in ("json", "raw"):
        if event_type is None:
            raise RefusedError(f"records of format {payload} need an event type", do="give --type")
        if table is not None or key_names is not None:
            raise RefusedError(
                f"records of format {payload} become events, which have no table and no item key",
                do="leave --table and --key out, or take another --format",
            )
        check_type(event_type)
        return _Whole(event_type, is_json=payload == "json")
    if payload == "changes":
        return _changes(table, key_names, event_type)
    if event_type is not None:
        raise RefusedError(f"lines of format {payload} name their type", do="leave --type out")
    convert = _Lines(payload, table, key_names)
    convert(_SAMPLE)  # refuses a table or key that can never be
    return convert


def _changes(table: str | None, key_names: Sequence[str] | None, event_type: str | None) -> Convert:
    if table is None or key_names is not None or event_type is not None:
        raise RefusedError(
            "changes say their key, and become actions on one table",
            do="give --table, what the log calls it, and neither --key nor --type",
        )
    changes = Changes(table)
    return lambda inbound: _placed(changes(inbound), inbound)


def of_log(inbound: Inbound) -> Sequence[Envelope]:
    """The event of another log, as it is, under its new id."""
    assert inbound.event is not None
    return _placed([inbound.event], inbound)


class _Lines:
    def __init__(self, payload: str, table: str | None, key_names: Sequence[str] | None) -> None:
        self._options: dict[str, Any] = {
            "input_format": payload,
            "table": table,
            "key_names": key_names,
        }

    def __call__(self, inbound: Inbound) -> Sequence[Envelope]:
        base = relay_id((inbound.lane, inbound.number))
        several = len([line for line in inbound.data.split(b"\n") if line.strip()]) > 1
        made = 0

        def new_id() -> str:
            nonlocal made
            made += 1
            return f"{base}/{made - 1}" if several else base

        lines = InputLines(**self._options, now_ms=lambda: inbound.arrival_ms, new_id=new_id)
        batch = lines.take(inbound.data + b"\n")
        if batch.refused is not None:
            raise batch.refused
        if inbound is not _SAMPLE and not batch.envelopes:
            raise RefusedError("the record holds no event")
        return _placed(batch.envelopes, inbound)


class _Whole:
    def __init__(self, event_type: str, *, is_json: bool) -> None:
        self._type = event_type
        self._is_json = is_json

    def __call__(self, inbound: Inbound) -> Sequence[Envelope]:
        data: Any = parse_line(inbound.data) if self._is_json else inbound.data
        action = {
            "Action": EVENT,
            "Type": self._type,
            "Key": {KEY_ATTRIBUTE: inbound.partition_key},
            "Data": data,
        }
        base = relay_id((inbound.lane, inbound.number))
        builder = ActionBuilder(new_id=lambda: base)
        return _placed(builder.build(action, inbound.arrival_ms), inbound)


def _placed(envelopes: Sequence[Envelope], inbound: Inbound) -> Checked:
    """The same events under the ids of their record's place."""
    base = relay_id((inbound.lane, inbound.number))
    placed = Checked()
    for index, envelope in enumerate(envelopes):
        own_id = base if len(envelopes) == 1 else f"{base}/{index}"
        origin: dict[str, Any] = {"shard": inbound.lane, "sequence": str(inbound.number)}
        if inbound.partition_key:
            origin["partition_key"] = inbound.partition_key
        if envelope.id != own_id:
            origin["id"] = envelope.id
        meta = {} if envelope.meta is None else decode_value(envelope.meta)
        if META_NAME in meta:
            if inbound.event is None:
                raise RefusedError(f"Meta.{META_NAME} is what a relay says about the record")
            origin["before"] = meta[META_NAME]
        placed.append(
            msgspec.structs.replace(
                envelope, id=own_id, meta=encode_meta({**meta, META_NAME: origin})
            )
        )
    return placed


def check_fits(envelopes: Sequence[Envelope], params: Params) -> None:
    """That each event fits a frame of its own, however badly it compresses.

    Raises:
        TooLargeError: one does not.
    """
    limit = min(params.frame_bytes_max - HEADER_BYTES, params.body_bytes_max)
    for envelope in envelopes:
        reckoned = len(envelope.key) + len(envelope.data or b"") + len(envelope.meta or b"")
        if reckoned < limit // 2:
            continue
        size = len(encode_body(columns_of([envelope])))
        if size > limit:
            raise TooLargeError(
                f"the event has {size} bytes, the limit is {limit}", size=size, limit=limit
            )


def unreadable(inbound: Inbound, reason: str) -> Envelope:
    """The record kept whole in the log, as a control record, with why it is no event."""
    content = {
        "unreadable": {
            "shard": inbound.lane,
            "sequence": str(inbound.number),
            "partition_key": inbound.partition_key,
            "arrival": inbound.arrival_ms,
            "reason": reason[:1_000],
            "data": inbound.data,
        }
    }
    return Envelope(
        f"unreadable/{inbound.lane}/{inbound.number}",
        RELAY_TYPE,
        1,
        "",
        _EMPTY_KEY,
        encode_value(content),
        time_ms=inbound.arrival_ms,
    )


_SAMPLE = Inbound("shard", 0, "", 0, b"")
