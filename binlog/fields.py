"""The fields of an action, each checked and brought into the form in which it travels.

What passes here no reader refuses: the bounds are at least as tight as those of `binlog.frame`.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

import msgspec

from binlog.columns import KEY_BYTES_MAX, is_table_name
from binlog.envelope import CONTROL_PREFIX, ID_BYTES_MAX, ITEM_TYPES, TYPE_BYTES_MAX
from binlog.errors import RefusedError, TooLargeError
from binlog.values import ITEM_BYTES_FREE, ITEM_BYTES_MAX, RESERVED_ATTRIBUTE, encode_value

FIRST_KEY_BYTES_MAX = 2_048
SECOND_KEY_BYTES_MAX = 1_024
KEY_NAME_BYTES_MAX = 255
"""Of a key's values, and of its attributes' names:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
No engine but DynamoDB minds; what it refuses is refused here, so that every replica takes the same."""
META_BYTES_MAX = 64 * 1024
EVENT_BYTES_MAX = ITEM_BYTES_MAX
SCHEMA_MAX = 2**31 - 1
EXPECT_MAX = 2**63 - 1

_SECTIONS = ("Set", "Remove", "Add", "Delete")
_is_table_name = lru_cache(maxsize=4_096)(is_table_name)
_encode = msgspec.msgpack.Encoder(order="deterministic").encode


def encode_plain_key(name: object, key: dict[Any, Any]) -> bytes | None:
    """`encode_key` of the commonest key, ``{name: short text}``, else ``None``."""
    value = key[name]
    # 512 characters have at most 2,048 bytes.
    if type(value) is not str or not 0 < len(value) <= 512:
        return None
    if type(name) is not str or not 0 < len(name) <= 64 or name == RESERVED_ATTRIBUTE:
        return None
    try:
        return _encode(key)
    except UnicodeEncodeError:
        return None


def encode_key(
    key: object, names: tuple[str, ...] | None, *, name_bytes_max: int = KEY_NAME_BYTES_MAX
) -> bytes:
    """Canonical bytes of an item's key, one or two attributes; the first one may be longer.

    ``name_bytes_max`` is for who names a key of an older log, which had no such limit.
    """
    if type(key) is dict and len(key) == 1:
        [name] = key
        plain = encode_plain_key(name, key)
        if plain is not None:
            return plain
    if not isinstance(key, Mapping):
        raise RefusedError(f"the key {key!r}", do="a key is an object of one or two attributes")
    if not 1 <= len(key) <= 2:
        raise RefusedError(f"a key of {len(key)} attributes", do="a key has one or two")
    # The order in which they are given says which is the first, unless the table says it.
    ordered = names if names is not None and set(names) == set(key) else tuple(key)
    for place, name in enumerate(ordered):
        _check_key_name(name, name_bytes_max)
        _check_key_attribute(
            name, key[name], SECOND_KEY_BYTES_MAX if place else FIRST_KEY_BYTES_MAX
        )
    encoded = encode_value(key)
    if len(encoded) > KEY_BYTES_MAX:
        raise too_large("the key with its attribute names", len(encoded), KEY_BYTES_MAX)
    return encoded


def _check_key_name(name: object, limit: int) -> None:
    if not isinstance(name, str) or not name:
        raise RefusedError(f"the key attribute name {name!r}: names are text and not empty")
    size = len(name.encode(errors="surrogatepass"))
    if size > limit:
        raise too_large(f"the name of the key attribute {name[:20]!r}..", size, limit)


def _check_key_attribute(name: object, value: object, limit: int) -> None:
    if name == RESERVED_ATTRIBUTE:
        raise RefusedError(f"the attribute {RESERVED_ATTRIBUTE!r} is reserved")
    if isinstance(value, bool) or not isinstance(value, str | bytes | int | Decimal):
        kind = "null" if value is None else type(value).__name__
        raise RefusedError(f"the key attribute {name!r} is a {kind}: text, number or binary")
    if isinstance(value, int | Decimal):
        return
    if not value:
        raise RefusedError(f"the key attribute {name!r} is empty")
    size = len(value) if isinstance(value, bytes) else len(value.encode(errors="surrogatepass"))
    if size > limit:
        raise too_large(f"the key attribute {name!r}", size, limit)


def encode_change(change: object, key: Mapping[str, Any]) -> bytes:
    """Canonical bytes of an UpdateItem's sections, the empty ones left out."""
    if type(change) is not dict and not isinstance(change, Mapping):
        raise RefusedError("UpdateItem without Data", do=f"an object of {', '.join(_SECTIONS)}")
    kept: dict[str, Any] = {}
    seen: set[str] = set(key)
    for section, content in change.items():
        if section not in _SECTIONS:
            raise RefusedError(f"UpdateItem has no {section!r}", do=", ".join(_SECTIONS))
        if section == "Remove":
            if not isinstance(content, list | tuple):
                raise RefusedError("Remove takes a list of attribute names")
        elif type(content) is not dict and not isinstance(content, Mapping):
            raise RefusedError(f"{section} takes an object of attributes")
        if not content:
            continue
        for name in content:
            if not isinstance(name, str) or not name:
                raise RefusedError(f"the attribute name {name!r}: names are text and not empty")
            if name in seen:
                raise RefusedError(
                    f"the key attribute {name!r} cannot be updated"
                    if name in key
                    else f"UpdateItem names {name!r} twice"
                )
            seen.add(name)
        if section == "Remove":
            kept[section] = sorted(content)
        else:
            if section != "Set":
                _check_operands(section, content)
            kept[section] = content
    if RESERVED_ATTRIBUTE in seen:
        raise RefusedError(f"the attribute {RESERVED_ATTRIBUTE!r} is reserved")
    encoded = encode_value(kept, outer=1)
    if len(encoded) > ITEM_BYTES_FREE:
        raise too_large("the UpdateItem's Data", len(encoded), ITEM_BYTES_FREE)
    return encoded


def _check_operands(section: str, content: Mapping[str, Any]) -> None:
    """DynamoDB's types: Add takes numbers and sets, Delete takes sets."""
    for name, value in content.items():
        if type(value) is int and section == "Add":
            continue
        if isinstance(value, set | frozenset):
            continue
        if section == "Add" and isinstance(value, int | Decimal) and not isinstance(value, bool):
            continue
        wanted = "a number or a set" if section == "Add" else "a set"
        raise RefusedError(
            f"{section} {name!r}: {wanted} is needed, not {type(value).__name__}",
            do="sets are written in --format dynamodb",
        )


def check_data_size(encoded: bytes) -> bytes:
    """The canonical bytes of a domain event's data, if they are not too many."""
    if len(encoded) > EVENT_BYTES_MAX:
        raise too_large("the event's Data", len(encoded), EVENT_BYTES_MAX)
    return encoded


def encode_meta(meta: object) -> bytes:
    """Canonical bytes of a Meta, an object."""
    if not isinstance(meta, Mapping):
        raise RefusedError("Meta is no object")
    encoded = encode_value(meta, outer=1)
    if len(encoded) > META_BYTES_MAX:
        raise too_large("Meta", len(encoded), META_BYTES_MAX)
    return encoded


def encode_batch_meta(meta: object, batch_id: str) -> bytes:
    """Canonical bytes of the Meta of each element of a batch: the given one and `batch`."""
    if meta is None:
        meta = {}
    if not isinstance(meta, Mapping):
        raise RefusedError("Meta is no object")
    if meta.get("batch", batch_id) != batch_id:
        raise RefusedError("Meta.batch is the batch's id", do="leave it out")
    return encode_meta({**meta, "batch": batch_id})


def check_id(event_id: object) -> str:
    """The event's id, if it is one."""
    if not isinstance(event_id, str) or not event_id:
        raise RefusedError(f"the Id {event_id!r}: text, and not empty")
    try:
        size = len(event_id.encode())
    except UnicodeEncodeError as error:
        raise RefusedError(f"the Id holds a lone surrogate ({error.reason})") from error
    if size > ID_BYTES_MAX:
        raise too_large("the Id", size, ID_BYTES_MAX)
    return event_id


def check_table(table: object) -> str:
    """The table's name, if it is one."""
    if not isinstance(table, str) or not _is_table_name(table):
        raise RefusedError(f"the table name {table!r}", do="3 to 255 of A-Z a-z 0-9 _ . -")
    return table


def check_type(event_type: object) -> str:
    """The type of a domain event, if it is one that a user may give."""
    if not isinstance(event_type, str) or not event_type:
        raise RefusedError(f"the event Type {event_type!r}: text, and not empty")
    if event_type in ITEM_TYPES or event_type.startswith(CONTROL_PREFIX):
        raise RefusedError(f"the event Type {event_type!r} is reserved")
    try:
        size = len(event_type.encode())
    except UnicodeEncodeError as error:
        raise RefusedError(f"the Type holds a lone surrogate ({error.reason})") from error
    if size > TYPE_BYTES_MAX:
        raise too_large("the event Type", size, TYPE_BYTES_MAX)
    return event_type


def check_schema(schema: object) -> int:
    """The schema version, if it is one."""
    if not isinstance(schema, int) or isinstance(schema, bool) or not 1 <= schema <= SCHEMA_MAX:
        raise RefusedError(f"the Schema {schema!r}: a whole number from 1 to {SCHEMA_MAX}")
    return schema


def check_expect(expect: object) -> int:
    """The expected version, if it is one."""
    if not isinstance(expect, int) or isinstance(expect, bool) or not 0 <= expect <= EXPECT_MAX:
        raise RefusedError(f"Expect {expect!r}: a version, or 0 for absent")
    return expect


def too_large(what: str, size: int, limit: int) -> TooLargeError:
    """The refusal of something that has ``size`` bytes."""
    return TooLargeError(f"{what} has {size} bytes, the limit is {limit}", size=size, limit=limit)
