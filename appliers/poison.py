"""The error of an event that no applier can apply: what it was, where, and what passes it."""

from __future__ import annotations

import shlex
from typing import Any

from binlog.errors import BinlogError, DamageError, PoisonError
from binlog.json_values import encode_json, plain
from binlog.run import Run
from binlog.values import decode_value


def poison(
    run: Run,
    index: int,
    reason: str,
    *,
    table: str | None = None,
    key: bytes | None = None,
) -> PoisonError:
    """The error for the event at ``index`` of ``run``.

    ``table`` and ``key`` are the item's where it is known, the event's otherwise; ``reason`` says
    what about event and item makes it impossible. The error carries partition, offset, id, type,
    table, key (decoded), sequence (of the record to read again), reason, and ``exclude``: two
    RULEs of which either passes it.
    """
    columns = run.columns
    event_type, _, event_table = columns.kinds[columns.index[index]]
    offset = run.first_offset + index
    event_id = columns.ids[index]
    table = event_table if table is None else table
    key = columns.keys[index] if key is None else key
    rules = (f"id={event_id}", f"offsets={run.partition}:{offset}-{offset}")
    shown, text = readable_key(key)
    return PoisonError(
        f"{event_type} cannot be applied to {text}{f' of {table}' if table else ''}: {reason}",
        f"partition {run.partition}, offset {offset}, id {event_id!r}",
        f"leave it out with --exclude {shlex.quote(rules[0])} or --exclude {rules[1]}",
        partition=run.partition,
        offset=offset,
        id=event_id,
        type=event_type,
        table=table,
        key=shown,
        sequence=run.sequence,
        reason=reason,
        exclude=rules,
    )


def reason_of(error: Exception) -> str:
    """What to say about an error that an applier, ours or a user's, raised."""
    if isinstance(error, BinlogError):
        return error.what
    text = str(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def readable_key(key: bytes) -> tuple[Any, str]:
    """A key decoded, and as JSON for a message; bytes that are no value as they are."""
    try:
        value = decode_value(key)
        return value, encode_json(plain(value)).decode()
    except (DamageError, TypeError):
        return key, repr(key)
