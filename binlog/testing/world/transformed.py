"""What transforms make of one event, written from their declarations: the part of `tables` about them.

Nothing is shared with `appliers.transform` but the declarations themselves.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import msgspec

from appliers.applier import Rules
from appliers.redaction import Constant, Redaction
from appliers.transform import TableTransform
from binlog.envelope import PUT_ITEM, UPDATE_ITEM, Envelope, Event
from binlog.errors import BinlogError
from binlog.fields import check_data_size, check_table, encode_meta
from binlog.testing.world.cell import Poison
from binlog.testing.world.user_code import Asked, Delivery
from binlog.values import decode_value, encode_item, encode_value


def declared_for(rules: Rules, table: str) -> TableTransform | None:
    """What is laid on the actions on a table; also on those that name a table made of others."""
    if rules.transforms is None:
        return None
    found = rules.transforms.tables.get(table)
    if found is None and any(each.to == table for each in rules.transforms.tables.values()):
        return TableTransform(table, 0, table)
    return found


def source_of(rules: Rules, table: str) -> TableTransform | None:
    """The transform that alone makes a table, whose owner nobody declared."""
    if rules.transforms is None or table in rules.owners:
        return None
    found = [each for each in rules.transforms.tables.values() if each.to == table]
    return found[0] if len(found) == 1 else None


def key_back(declared: TableTransform, key: bytes) -> bytes | None:
    """The key of the events of an item; ``None``: nobody can tell."""
    back = {after: before for before, after in declared.rename.items()}
    named = {back.get(name, name): value for name, value in decode_value(key).items()}
    return None if any(name in declared.redact for name in named) else encode_value(named)


def new_key(declared: TableTransform, key: bytes) -> bytes:
    """The item's key.

    Raises:
        Poison: it cannot have one.
    """
    named = decode_value(key)
    after = {}
    for name, value in named.items():
        kept = value
        if name in declared.drop or isinstance(declared.redact.get(name), Constant):
            raise Poison(f"the key attribute {name!r} would be lost")
        if name in declared.redact:
            kept = _hidden(declared.redact[name], value)
        after[_new_name(declared, name)] = kept
    return encode_value(after)


def new_action(declared: TableTransform, event: Envelope) -> Envelope:
    """An action with the item's key, and its data as they are to be applied.

    Raises:
        Poison: they cannot be transformed.
    """
    if not event.data:
        return event
    try:
        data = decode_value(event.data)
        if event.type == PUT_ITEM:
            encoded = encode_item(_item(declared, data))
        elif event.type == UPDATE_ITEM:
            encoded = encode_value(_change(declared, data), outer=1)
        else:
            return event
    except (BinlogError, TypeError, AttributeError) as error:
        raise Poison(str(error)) from error
    return msgspec.structs.replace(event, data=encoded)


def new_delivery(delivery: Delivery) -> Delivery | None:
    """A domain event as the appliers get it; ``None``: not at all.

    Raises:
        Poison: its transform fails, or returns what is no such event.
    """
    rules, envelope = delivery.rules, delivery.envelope
    declared = None if rules.transforms is None else rules.transforms.types.get(envelope.type)
    if declared is None:
        return delivery
    kept = delivery.event()
    event = delivery.event()
    with Asked("the transform"):
        after: object = declared.function(event)
        if after is None:
            return None
        if not isinstance(after, Event) or any(
            getattr(after, name) != getattr(kept, name)
            for name in Event.__struct_fields__
            if name not in ("data", "meta", "table")
        ):
            raise Poison("the transform returned another event")
        changed = msgspec.structs.replace(
            envelope,
            schema=after.schema,
            table=check_table(after.table) if after.table else "",
            data=check_data_size(encode_value(after.data, outer=1)),
            meta=None if after.meta is None else encode_meta(after.meta),
        )
    return Delivery(
        rules,
        delivery.partition,
        delivery.offset,
        changed,
        delivery.arrival_ms,
        delivery.session,
        delivery.number,
    )


def _new_name(declared: TableTransform, name: str) -> str:
    if name in declared.rename:
        return declared.rename[name]
    if name in declared.rename.values() and name not in declared.drop:
        raise Poison(f"two attributes might be {name!r}")
    return name


def _hidden(how: Redaction, value: Any) -> Any:
    if isinstance(how, Constant):
        return how.value
    if isinstance(value, frozenset):
        return frozenset(_hidden(how, member) for member in value)
    return hmac.new(how.secret, encode_value(value), "sha256").hexdigest()[:40]


def _item(declared: TableTransform, item: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _new_name(declared, name): _hidden(declared.redact[name], value)
        if name in declared.redact
        else value
        for name, value in item.items()
        if name not in declared.drop
    }


def _change(declared: TableTransform, change: Any) -> dict[str, Any]:
    """Attribute by attribute: each has one verb in an UpdateItem, and has one afterwards."""
    after: dict[str, Any] = {}
    seen: set[str] = set()
    for verb, content in change.items():
        wanted: Any = {"Set": dict, "Add": dict, "Delete": dict, "Remove": list}.get(verb)
        if type(content) is not wanted:
            raise Poison("no such section")
        for name in content:
            if name in seen or type(name) is not str:
                raise Poison("an attribute twice, or none")
            seen.add(name)
            if name in declared.drop:
                continue
            new = _new_name(declared, name)
            how = declared.redact.get(name)
            if verb == "Remove":
                after["Remove"] = sorted([*after.get("Remove", []), new])
            elif how is None:
                after.setdefault(verb, {})[new] = content[name]
            elif not isinstance(how, Constant):
                if verb == "Add" and not isinstance(content[name], frozenset):
                    raise Poison("a number is added to a pseudonym")
                after.setdefault(verb, {})[new] = _hidden(how, content[name])
            elif verb != "Delete":
                after.setdefault("Set", {})[new] = how.value
    return after
