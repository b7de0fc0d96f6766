"""Envelopes that passed every check, and the check for those that were made by hand.

`binlog.actions` checks what it builds while it builds it, and says so by the list's type: walking
the bytes of every event a second time would cost more than making it.
"""

from __future__ import annotations

from collections.abc import Sequence

from binlog.envelope import DELETE_ITEM, ITEM_TYPES, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import DamageError, RefusedError
from binlog.fields import (
    check_data_size,
    check_expect,
    check_id,
    check_schema,
    check_table,
    check_type,
    encode_change,
    encode_key,
    encode_meta,
)
from binlog.values import decode_value, encode_item, encode_value

TIME_MAX = 2**63 - 1


class Checked(list[Envelope]):
    """Envelopes that need no check any more. Only who checked them may make one."""


def check_envelopes(envelopes: Sequence[Envelope]) -> None:
    """Nothing, if every reader of a log would take each of them.

    Raises:
        RefusedError: one would not be taken; with its place in ``error.index``.
    """
    if isinstance(envelopes, Checked):
        return
    for index, envelope in enumerate(envelopes):
        try:
            check_envelope(envelope)
        except RefusedError as error:
            details = {**error.details, "index": index}
            where = error.where or f"event {index}"
            raise type(error)(error.what, where, error.do, **details) from error
        except DamageError as error:
            raise RefusedError(error.what, f"event {index}", index=index) from error


def check_envelope(envelope: Envelope) -> None:
    """Nothing, if ``envelope`` is one that `binlog.actions` could have built.

    Raises:
        RefusedError: it breaks a rule or a limit.
        DamageError: bytes in it are not those of a value.
    """
    if type(envelope) is not Envelope:
        raise RefusedError(f"a {type(envelope).__name__} is no Envelope")
    check_id(envelope.id)
    check_schema(envelope.schema)
    if envelope.expect is not None:
        check_expect(envelope.expect)
    if type(envelope.time_ms) is not int or not 0 <= envelope.time_ms <= TIME_MAX:
        raise RefusedError(f"the time {envelope.time_ms!r}: ms since 1970")
    key = decode_value(_bytes(envelope.key, "key"))
    if not isinstance(key, dict):
        raise RefusedError("the key is no map")
    # Canonical bytes do not tell which attribute is the first: the longer one is given the room.
    names = tuple(sorted(key, key=lambda name: -len(encode_value(key[name]))))
    _same(encode_key(key, names), envelope.key, "key")
    if envelope.meta is not None:
        meta = decode_value(_bytes(envelope.meta, "meta"))
        _same(encode_meta(meta), envelope.meta, "meta")
    if envelope.type in ITEM_TYPES:
        check_table(envelope.table)
        _check_item_data(envelope, key)
        return
    check_type(envelope.type)
    if envelope.table:
        check_table(envelope.table)
    data = _bytes(envelope.data, "data")
    check_data_size(data)
    _same(encode_value(decode_value(data), outer=1), data, "data")


def _check_item_data(envelope: Envelope, key: dict[str, object]) -> None:
    if envelope.type == DELETE_ITEM:
        if envelope.data is not None:
            raise RefusedError("a DeleteItem has no data")
        return
    data = _bytes(envelope.data, "data")
    content = decode_value(data)
    if not isinstance(content, dict):
        raise RefusedError(f"the data of a {envelope.type} is no map")
    if envelope.type == UPDATE_ITEM:
        _same(encode_change(content, key), data, "data")
    elif envelope.type == PUT_ITEM:
        _same(encode_item(content), data, "data")
        if any(name not in content or content[name] != value for name, value in key.items()):
            raise RefusedError("the item and its key disagree")


def _bytes(value: object, what: str) -> bytes:
    if type(value) is not bytes:
        raise RefusedError(f"the {what} is a {type(value).__name__}: canonical bytes are needed")
    return value


def _same(canonical: bytes, given: bytes, what: str) -> None:
    if canonical != given:
        raise RefusedError(f"the {what} is not in canonical bytes", do="see binlog.values")
