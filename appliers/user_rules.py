"""Calls of the user's code: whatever goes wrong in it is a PoisonError.

Whether it is certainly a property of the event, so that it may park a key, says `appliers.poison`.

Every call gets arguments decoded for it alone, so what an applier does to them stays there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from appliers.applier import Rule
from appliers.poison import is_of_the_event, poison, readable_key, reason_of
from appliers.routing import Routing
from binlog.envelope import ITEM_TYPES, Event
from binlog.errors import DamageError, PoisonError, RefusedError
from binlog.events import event_at
from binlog.fields import encode_key
from binlog.run import Run
from binlog.values import decode_value, encode_item, encode_value


def keys_of(routing: Routing, run: Run, index: int, rule: Rule) -> list[bytes]:
    """The keys to which ``rule`` routes the event at ``index``, decided from the event alone.

    Raises:
        PoisonError: its ``key`` or ``keys`` raises, or gives what is no key.
        UpgradeError: a newer schema version than the rules know.
    """
    if rule.key is None and rule.keys is None:
        return [run.columns.keys[index]]
    event = _event(routing, run, index, alone=True)
    try:
        if rule.key is not None:
            return [encode_key(rule.key(event), None)]
        keys = [encode_key(key, None) for key in rule.keys(event)]  # type: ignore[misc]
    except MemoryError:  # the machine's fault, not the event's
        raise
    except Exception as error:
        raise poison(
            run, index, reason_of(error), parks=is_of_the_event(error), alone=True
        ) from error
    if len(set(keys)) != len(keys):
        raise poison(run, index, "its applier's keys name an item twice", alone=True)
    return keys


def apply_rule(
    routing: Routing,
    run: Run,
    index: int,
    rule: Rule,
    *,
    table: str,
    key: bytes,
    data: bytes | None,
) -> bytes | None:
    """Canonical bytes of the item after the event; ``data`` are those before, ``None`` for none.

    Raises:
        PoisonError: the applier raises, or returns what cannot be the item.
        UpgradeError: a newer schema version than the rules know.
    """
    event = _event(routing, run, index)
    try:
        item = None if data is None else decode_value(data)
        named = decode_value(key)
        result = rule.apply(item, event, named) if rule.takes_key else rule.apply(item, event)
        return None if result is None else _encode_result(result, key)
    except MemoryError:
        raise
    except Exception as error:
        raise poison(
            run, index, reason_of(error), table=table, key=key, parks=is_of_the_event(error)
        ) from error


def check_owner(routing: Routing, run: Run, index: int, *, table: str, key: bytes) -> None:
    """That events of the run's partition may touch the item.

    Raises:
        PoisonError: another partition owns it; both keys are named. Or the owner function fails.
    """
    ownership = routing.ownership
    if run.columns.kinds[run.columns.index[index]][0] in ITEM_TYPES and routing.settles(table):
        return
    try:
        if ownership.partition_of(table, key) == run.partition:
            return
        owner_table, owner_key = ownership.owner_of(table, key)
    except MemoryError:
        raise
    except Exception as error:
        reason = f"the owner of table {table!r} failed ({reason_of(error)})"
        raise poison(
            run, index, reason, table=table, key=key, parks=is_of_the_event(error), alone=True
        ) from error
    columns = run.columns
    event_table = columns.kinds[columns.index[index]][2]
    raise poison(
        run,
        index,
        f"the item belongs to events of {_origin(owner_table, owner_key)}, and this one is of "
        f"{_origin(event_table, columns.keys[index])} (publish it with "
        "that table and key, or declare the table's owner: see appliers.ownership)",
        table=table,
        key=key,
        alone=True,
    )


def _event(routing: Routing, run: Run, index: int, *, alone: bool = False) -> Event:
    try:
        return event_at(run, index, routing.rules.schemas, timeline=routing.params.timeline)
    except DamageError as error:
        raise poison(run, index, error.what, alone=alone) from error
    except PoisonError as error:  # an upcaster's
        error.details |= {"parks": is_of_the_event(error.__cause__), "alone": alone}
        raise


def _origin(table: str, key: bytes) -> str:
    return f"{f'table {table!r}' if table else 'no table'}, key {readable_key(key)[1]}"


def _encode_result(result: Any, key: bytes) -> bytes:
    """Canonical bytes of what an applier returned.

    Raises:
        RefusedError: no map, a key attribute missing or changed, or what no item can hold.
    """
    if not isinstance(result, Mapping):
        raise RefusedError(f"the applier returned a {type(result).__name__}, not an item or None")
    data = encode_item(result)
    try:
        named = encode_value({name: result[name] for name in decode_value(key)})
    except KeyError as error:
        raise RefusedError(f"the applier left out the key attribute {error.args[0]!r}") from None
    if named != key:
        raise RefusedError("the applier changed a key attribute")
    return data
