"""The error of an event that no applier can apply: what it was, where, and what passes it.

And whose doing an exception is (`is_of_the_event`). Only what follows from event and item alone, and
so is met again by every replica, may park a key:

* what the built-in actions and the checks of a result refuse: an Add or Delete on another type, a
  sum beyond 38 digits, an item too large or too deep, a key attribute that was changed;
* `appliers.applier.ApplierError` and its subclasses: the user says so;
* what pure code raises about a value that it did not expect: ``ArithmeticError`` (decimals too),
  ``AssertionError``, ``AttributeError``, ``LookupError``, ``StopIteration``, ``TypeError``,
  ``ValueError``, and what derives from them.

Anything else stops the reader, parking or not, and is met again at the next try: errors of the
machine and the world (``OSError`` with all connections and time-outs, ``MemoryError``,
``RecursionError``, since how deep a stack may be is not the same everywhere), of the code
(``ImportError``, ``NameError``, ``SyntaxError``, ``NotImplementedError``), and classes that derive
from ``Exception`` or ``RuntimeError`` alone, of which nobody can tell: most clients of services
raise such. `KeyboardInterrupt` and `SystemExit` are no errors of anybody, and pass.
"""

from __future__ import annotations

import shlex
from typing import Any

from appliers.applier import ApplierError
from binlog.errors import BinlogError, DamageError, PoisonError, RefusedError, UpgradeError
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
    parks: bool = True,
    alone: bool = False,
) -> PoisonError:
    """The error for the event at ``index`` of ``run``.

    ``table`` and ``key`` are the item's where it is known, the event's otherwise; ``reason`` says
    what about event and item makes it impossible, ``parks`` whether it is certainly these two that
    do; ``alone``: there is no item that could be parked for it. The error carries partition,
    offset, id, type, table, key (decoded), sequence (of the record to read again), reason, parks,
    alone, and ``exclude``: two RULEs of which either passes it.
    """
    columns = run.columns
    event_type, _, event_table = columns.kinds[columns.index[index]]
    offset = run.first_offset + index
    event_id = columns.ids[index]
    table = event_table if table is None else table
    key = columns.keys[index] if key is None else key
    rules = (f"id={event_id}", f"offsets={run.partition}:{offset}-{offset}")
    shown, text = readable_key(key)
    unsure = "" if parks else f"{_UNSURE}, or "
    return PoisonError(
        f"{event_type} cannot be applied to {text}{f' of {table}' if table else ''}: {reason}",
        f"partition {run.partition}, offset {offset}, id {event_id!r}",
        f"{unsure}leave it out with --exclude {shlex.quote(rules[0])} or --exclude {rules[1]}",
        partition=run.partition,
        offset=offset,
        id=event_id,
        type=event_type,
        table=table,
        key=shown,
        sequence=run.sequence,
        reason=reason,
        exclude=rules,
        parks=parks,
        alone=alone,
    )


_UNSURE = "see whether code or machine is at fault (if the event is, raise ApplierError)"
_EVENTS = (
    *(ApplierError, RefusedError, DamageError),
    *(ArithmeticError, AssertionError, AttributeError, LookupError),
    *(StopIteration, TypeError, ValueError),
)
# Looked at first: some are both, as a certificate that does not hold is a ValueError and an OSError.
_OTHERS = (OSError, MemoryError, RecursionError, ImportError, NameError, SyntaxError)


def is_of_the_event(error: BaseException | None) -> bool:
    """Whether an exception of an applier is certainly met again, by everybody: see the module."""
    return isinstance(error, _EVENTS) and not isinstance(error, _OTHERS)


def reason_of(error: Exception) -> str:
    """What to say about an error that an applier, ours or a user's, raised."""
    if isinstance(error, BinlogError):
        return error.what
    text = str(error)
    if text and isinstance(error, ApplierError):
        return text  # the user's own words
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def readable_key(key: bytes) -> tuple[Any, str]:
    """A key decoded, and as JSON for a message; bytes that are no value as they are."""
    try:
        value = decode_value(key)
        return value, encode_json(plain(value)).decode()
    except (DamageError, TypeError):
        return key, repr(key)


def newer(run: Run, i: int) -> UpgradeError:
    """Why an action of a schema version that this code does not know ends it."""
    event_type, schema, _ = run.columns.kinds[run.columns.index[i]]
    return UpgradeError(
        f"{event_type} of schema version {schema}",
        f"partition {run.partition}, offset {run.first_offset + i}",
        "upgrade binlog",
    )
