"""From an action, a mapping of Python values, to the envelopes that carry it.

An action is what a line of ``binlog append`` holds, already parsed. Its fields are ``Action``,
``Table``, ``Key``, ``Data``, ``Expect``, ``Id`` and ``Meta``, and for an event ``Type`` and
``Schema``; a mapping without ``Action`` is an item, to be put whole.

=========== ====================================================================================
PutItem     the stored item is ``Data`` and ``Key`` together; a ``Data`` that is no map is stored
            under the attribute ``Data``; without a key the key is ``{"id": <event id>}``
DeleteItem  no ``Data``; ``Key`` names the item
UpdateItem  ``{"Set": {..}, "Remove": [..], "Add": {..}, "Delete": {..}}``, top-level attributes
BatchWrite  a list of items and ``{"Delete": KEY}``: one envelope each, ids ``ID/0``, ``ID/1``,
            .., ``Meta.batch`` = ID; not atomic
Event       a domain event of ``Type``, its ordering ``Key``, any ``Data``, typed data included
            (`binlog.typed`)
=========== ====================================================================================

Everything that can be refused is refused here, before an event is given a number: a reader that
meets a number has to apply it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from binlog.checked import Checked
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import RefusedError
from binlog.fields import (
    check_data_size,
    check_expect,
    check_id,
    check_schema,
    check_table,
    check_type,
    encode_batch_meta,
    encode_change,
    encode_key,
    encode_meta,
    encode_plain_key,
)
from binlog.ids import event_ids
from binlog.values import encode_item, encode_value

BATCH_WRITE = "BatchWrite"
EVENT = "Event"
DATA_ATTRIBUTE = "Data"
"""Where a `Data` that is no map is kept."""
ID_ATTRIBUTE = "id"
"""The key attribute, holding the event's id, of an item for which no key is given."""

_ITEM_FIELDS = frozenset({"Action", "Table", "Key", "Data", "Expect", "Id", "Meta"})
_EVENT_FIELDS = _ITEM_FIELDS | {"Type", "Schema"}
_TABLES_MAX = 4_096  # remembered


def build(
    action: Mapping[str, Any],
    *,
    table: str | None = None,
    key_names: Sequence[str] | None = None,
    now_ms: int,
    new_id: Callable[[], str] | None = None,
) -> Checked:
    """The envelopes of one action: one, or for a BatchWrite one an element.

    ``table`` and ``key_names`` (the attributes that make an item's key, one or two) fill in what
    the action leaves out; ``new_id`` is asked where it has no ``Id`` (if not given: see
    `binlog.ids`). ``now_ms`` becomes the events' own time.

    Raises:
        RefusedError: the action breaks a rule of the table above or a limit; nothing is made.
        TooLargeError: (a RefusedError) a size above its limit, with both in it.
    """
    new_id = new_id or event_ids(now_ms)
    return ActionBuilder(table=table, key_names=key_names, new_id=new_id).build(action, now_ms)


def build_many(
    actions: Iterable[Mapping[str, Any]],
    *,
    table: str | None = None,
    key_names: Sequence[str] | None = None,
    now_ms: int,
    new_id: Callable[[], str] | None = None,
) -> Checked:
    """The envelopes of many actions, in order; all or none.

    Raises:
        RefusedError: as `build`, with the place of the refused action in ``error.index``.
    """
    new_id = new_id or event_ids(now_ms)
    builder = ActionBuilder(table=table, key_names=key_names, new_id=new_id)
    return builder.build_many(actions, now_ms)


class ActionBuilder:
    """`build` with its defaults bound once. Safe from any thread."""

    def __init__(
        self,
        *,
        table: str | None = None,
        key_names: Sequence[str] | None = None,
        new_id: Callable[[], str],
    ) -> None:
        if table is not None:
            check_table(table)
        if key_names is not None:
            key_names = tuple(key_names)
            if not 1 <= len(key_names) <= 2 or len(set(key_names)) != len(key_names):
                raise RefusedError(f"the key {', '.join(key_names)!r}: one or two attributes")
        self._table = table
        self._key_names = key_names
        self._new_id = new_id
        self._known_tables: set[str] = set()  # names that were checked before

    def build_many(self, actions: Iterable[Mapping[str, Any]], now_ms: int) -> Checked:
        """See the function of this name."""
        envelopes = Checked()
        add = envelopes.append
        index = 0
        try:
            for action in actions:
                kind = action.get("Action")
                if kind == PUT_ITEM:
                    add(self._put_plain(action, now_ms) or self._put(action, now_ms))
                elif kind == UPDATE_ITEM:
                    add(self._update(action, now_ms))
                elif kind == DELETE_ITEM:
                    add(self._delete(action, now_ms))
                else:
                    envelopes += self.build(action, now_ms)
                index += 1
        except RefusedError as error:
            details = {**error.details, "index": index}
            raise type(error)(error.what, error.where, error.do, **details) from error
        return envelopes

    def build(self, action: Mapping[str, Any], now_ms: int) -> Checked:
        """See the function of this name."""
        if "Action" not in action:
            return Checked((self.build_item(action, now_ms),))
        kind = action["Action"]
        if kind == PUT_ITEM:
            return Checked((self._put(action, now_ms),))
        if kind == UPDATE_ITEM:
            return Checked((self._update(action, now_ms),))
        if kind == DELETE_ITEM:
            return Checked((self._delete(action, now_ms),))
        if kind == BATCH_WRITE:
            return self._batch(action, now_ms)
        if kind == EVENT:
            return Checked((self._event(action, now_ms),))
        names = ", ".join((PUT_ITEM, DELETE_ITEM, UPDATE_ITEM, BATCH_WRITE, EVENT))
        raise RefusedError(f"the action {kind!r} is unknown", do=f"one of {names}")

    def build_item(self, item: object, now_ms: int) -> Envelope:
        """The PutItem of a whole item, whatever its attributes are called."""
        event_id = self._new_id()
        return self._put_item(event_id, self._default_table(), item, None, None, None, now_ms)

    # -- one action each ---------------------------------------------------------------------

    def _put_plain(self, action: Mapping[str, Any], now_ms: int) -> Envelope | None:
        """What `_put` makes of the commonest action, in three quarters of its time, or ``None``.

        That is Table, Key of one short text attribute, and Data without it, nothing else; values
        that need no rewriting. Whatever is odd, `_put` finds the words for.
        """
        if len(action) != 4 or type(action) is not dict:
            return None
        table, key, item = action.get("Table"), action.get("Key"), action.get(DATA_ATTRIBUTE)
        if type(table) is not str or table not in self._known_tables:
            return None
        if type(item) is not dict or type(key) is not dict or len(key) != 1:
            return None
        [name] = key
        encoded_key = encode_plain_key(name, key)
        if encoded_key is None or name in item:
            return None
        data = encode_item({**item, **key})
        return Envelope(self._new_id(), PUT_ITEM, 1, table, encoded_key, data, None, None, now_ms)

    def _put(self, action: Mapping[str, Any], now_ms: int) -> Envelope:
        if not _ITEM_FIELDS.issuperset(action):
            raise _unknown_fields(action, _ITEM_FIELDS)
        get = action.get
        event_id, table, meta, expect = get("Id"), get("Table"), get("Meta"), get("Expect")
        data = get(DATA_ATTRIBUTE)
        if data is None and DATA_ATTRIBUTE not in action:
            raise RefusedError("PutItem without Data", do="Data is the item")
        return self._put_item(
            self._new_id() if event_id is None else check_id(event_id),
            self._default_table() if table is None else self._check_table(table),
            data,
            get("Key"),
            None if meta is None else encode_meta(meta),
            None if expect is None else check_expect(expect),
            now_ms,
        )

    def _put_item(
        self,
        event_id: str,
        table: str,
        data: object,
        key: object,
        meta: bytes | None,
        expect: int | None,
        now_ms: int,
    ) -> Envelope:
        item: Mapping[str, Any]
        if type(data) is dict or isinstance(data, Mapping):
            item = data
        else:
            item = {DATA_ATTRIBUTE: data}
        names = self._key_names
        if key is None and names is not None:
            key = _pick(item, names)
            encoded_key = encode_key(key, names)
        else:
            if key is None:
                key = {ID_ATTRIBUTE: event_id}
            encoded_key = encode_key(key, names)
            item = _join(item, key)  # type: ignore[arg-type]  # encode_key looked
        return Envelope(
            event_id, PUT_ITEM, 1, table, encoded_key, encode_item(item), meta, expect, now_ms
        )

    def _delete(self, action: Mapping[str, Any], now_ms: int) -> Envelope:
        get = action.get
        if not _ITEM_FIELDS.issuperset(action):
            raise _unknown_fields(action, _ITEM_FIELDS)
        if get("Data") is not None:
            raise RefusedError("DeleteItem with Data", do="Key names the item to delete")
        event_id, table, meta, expect = get("Id"), get("Table"), get("Meta"), get("Expect")
        return Envelope(
            self._new_id() if event_id is None else check_id(event_id),
            DELETE_ITEM,
            1,
            self._default_table() if table is None else self._check_table(table),
            encode_key(_need_key(action), self._key_names),
            None,
            None if meta is None else encode_meta(meta),
            None if expect is None else check_expect(expect),
            now_ms,
        )

    def _update(self, action: Mapping[str, Any], now_ms: int) -> Envelope:
        get = action.get
        if not _ITEM_FIELDS.issuperset(action):
            raise _unknown_fields(action, _ITEM_FIELDS)
        event_id, table, meta, expect = get("Id"), get("Table"), get("Meta"), get("Expect")
        key = _need_key(action)
        return Envelope(
            self._new_id() if event_id is None else check_id(event_id),
            UPDATE_ITEM,
            1,
            self._default_table() if table is None else self._check_table(table),
            encode_key(key, self._key_names),
            encode_change(get("Data"), key),
            None if meta is None else encode_meta(meta),
            None if expect is None else check_expect(expect),
            now_ms,
        )

    def _batch(self, action: Mapping[str, Any], now_ms: int) -> Checked:
        if not _ITEM_FIELDS.issuperset(action):
            raise _unknown_fields(action, _ITEM_FIELDS)
        get = action.get
        if get("Expect") is not None:
            raise RefusedError("Expect on a BatchWrite", do="write the items one by one")
        if get("Key") is not None:
            raise RefusedError("Key on a BatchWrite", do="each element has its own")
        elements = get("Data")
        if not isinstance(elements, list | tuple) or not elements:
            raise RefusedError("BatchWrite without a list of items and deletes in Data")
        batch_id, table, meta = get("Id"), get("Table"), get("Meta")
        batch_id = self._new_id() if batch_id is None else check_id(batch_id)
        table = self._default_table() if table is None else check_table(table)
        encoded_meta = encode_batch_meta(meta, batch_id)
        envelopes = Checked()
        for place, element in enumerate(elements):
            event_id = check_id(f"{batch_id}/{place}")
            try:
                if isinstance(element, Mapping) and set(element) == {"Delete"}:
                    key = encode_key(element["Delete"], self._key_names)
                    envelope = Envelope(
                        event_id, DELETE_ITEM, 1, table, key, None, encoded_meta, None, now_ms
                    )
                else:
                    envelope = self._put_item(
                        event_id, table, element, None, encoded_meta, None, now_ms
                    )
            except RefusedError as error:
                what = f"element {place}: {error.what}"
                raise type(error)(what, error.where, error.do, **error.details) from None
            envelopes.append(envelope)
        return envelopes

    def _event(self, action: Mapping[str, Any], now_ms: int) -> Envelope:
        if not _EVENT_FIELDS.issuperset(action):
            raise _unknown_fields(action, _EVENT_FIELDS)
        get = action.get
        event_id, table, key = get("Id"), get("Table"), get("Key")
        meta, expect, schema = get("Meta"), get("Expect"), get("Schema")
        data = get("Data")
        if key is None:
            if self._key_names is None or not isinstance(data, Mapping):
                raise RefusedError("an Event without Key", do="Key orders it; give an object")
            key = _pick(data, self._key_names)
        return Envelope(
            self._new_id() if event_id is None else check_id(event_id),
            check_type(get("Type")),
            1 if schema is None else check_schema(schema),
            (self._table or "") if table is None else check_table(table),
            encode_key(key, self._key_names),
            check_data_size(_encode_data(data)),
            None if meta is None else encode_meta(meta),
            None if expect is None else check_expect(expect),
            now_ms,
        )

    def _check_table(self, table: object) -> str:
        if type(table) is str and table in self._known_tables:
            return table
        name = check_table(table)
        if len(self._known_tables) < _TABLES_MAX:
            self._known_tables.add(name)
        return name

    def _default_table(self) -> str:
        if self._table is None:
            raise RefusedError("no table", do="name it in the line (Table) or by --table")
        return self._table


def _encode_data(data: object) -> bytes:
    """Canonical bytes of an event's data. Plain data, nearly all there are, pay nothing for typed."""
    try:
        return encode_value(data, outer=1)
    except RefusedError:
        from binlog.typed import as_data

        return encode_value(as_data(data), outer=1)


def _need_key(action: Mapping[str, Any]) -> Mapping[str, Any]:
    key = action.get("Key")
    if key is None:
        raise RefusedError(f"{action['Action']} without Key", do="Key names the item")
    return key  # type: ignore[no-any-return]  # encode_key looks


def _unknown_fields(action: Mapping[str, Any], known: frozenset[str]) -> RefusedError:
    names = ", ".join(sorted(repr(name) for name in set(action) - known))
    return RefusedError(f"unknown field {names}", do=f"known are {', '.join(sorted(known))}")


def _pick(item: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    try:
        return {name: item[name] for name in names}
    except KeyError as error:
        name = error.args[0]
        raise RefusedError(f"the key attribute {name!r} is missing", attribute=name) from None


def _join(item: Mapping[str, Any], key: Mapping[str, Any]) -> dict[str, Any]:
    """The stored item, Data and Key together."""
    for name in key:
        if name in item and encode_value(item[name]) != encode_value(key[name]):
            raise RefusedError(
                f"the key attribute {name!r} is {key[name]!r}, Data has {item[name]!r}",
                do="leave it out of Data, or name the key attributes (--key)",
            )
    return {**item, **key}
