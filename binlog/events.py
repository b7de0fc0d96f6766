"""From a run to events: decoded, upcast and numbered, for people and for appliers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from binlog.envelope import Event
from binlog.errors import BinlogError, DamageError, PoisonError, UpgradeError
from binlog.run import Run
from binlog.schema import NO_SCHEMAS, Schemas
from binlog.values import decode_value
from binlog.vector import version_of


def events(run: Run, schemas: Schemas = NO_SCHEMAS, *, timeline: int = 0) -> Iterator[Event]:
    """The events of ``run`` in offset order, data upcast to the newest version of its type.

    Raises:
        UpgradeError: a newer schema version than ``schemas`` knows for the type.
        PoisonError: an upcaster raised, or returned what is no value.
        DamageError: key, data or meta are not the bytes of a value.
    """
    for index in range(len(run.columns)):
        yield event_at(run, index, schemas, timeline=timeline)


def event_at(run: Run, index: int, schemas: Schemas, *, timeline: int = 0) -> Event:
    """The event at ``index`` of ``run``, decoded anew: the caller may change what is in it.

    Raises:
        UpgradeError, PoisonError, DamageError: as `events`.
    """
    columns = run.columns
    event_type, schema, table = columns.kinds[columns.index[index]]
    offset = run.first_offset + index
    try:
        key = _decode_map(columns.keys[index], "key")
        packed = None if columns.metas is None else columns.metas[index]
        meta = None if packed is None else _decode_map(packed, "meta")
        encoded = columns.datas[index]
        data = None if encoded is None else decode_value(encoded)
    except DamageError as error:
        where = f"partition {run.partition}, offset {offset}"
        raise DamageError(error.what, where, partition=run.partition, offset=offset) from error
    try:
        schema, data = schemas.upcast(event_type, schema, data)
    except UpgradeError as error:
        where = f"partition {run.partition}, offset {offset}"
        details = {**error.details, "partition": run.partition, "offset": offset}
        raise UpgradeError(error.what, where, error.do, **details) from error
    except Exception as error:
        reason = (
            error.what if isinstance(error, BinlogError) else f"{type(error).__name__}: {error}"
        )
        raise PoisonError(
            f"an upcaster of {event_type!r} failed on schema version {schema} ({reason})",
            f"partition {run.partition}, offset {offset}, id {columns.ids[index]!r}",
            "mend the upcaster: it meets the same event at every reading",
            partition=run.partition,
            offset=offset,
            id=columns.ids[index],
            type=event_type,
            table=table,
            key=key,
            sequence=run.sequence,
            reason=reason,
        ) from error
    return Event(
        partition=run.partition,
        offset=offset,
        version=version_of(timeline, offset),
        id=columns.ids[index],
        type=event_type,
        schema=schema,
        table=table,
        key=key,
        data=data,
        meta=meta,
        expect=None if columns.expects is None else columns.expects[index],
        time_ms=columns.times[index],
        arrival_ms=run.arrival_ms,
        session=str(run.session),
        number=run.numbers[index],
    )


def _decode_map(data: bytes, what: str) -> dict[str, Any]:
    value = decode_value(data)
    if type(value) is not dict:
        raise DamageError(f"a {what} that is no map")
    return value
