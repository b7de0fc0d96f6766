"""For applications that read live tables: they hold tombstones and the attribute ``_binlog``.

A deleted item stays as a tombstone: its key and ``_binlog``, in which ``d`` is true. Every read of
a live table has to hide them, by `hide` where DynamoDB filters (Query, Scan), by `shown` where it
does not (GetItem, BatchGetItem, streams). `LiveTable` does both.

A rebuild puts another physical table in a table's place: `LiveTables` knows which one is live, and
notices when that changes. Of a table that is never rebuilt, or owned, the name is enough.

All of it takes either form of values: a boto3 client's (``{"id": {"S": "a"}}``), or a resource's
(``{"id": "a"}``; ``boto3.resource("dynamodb").meta.client`` is a client of that form).

In PartiQL the filter is ``"_binlog"."d" IS MISSING``.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

import msgspec

from appliers.stores.dynamodb_catalog import CATALOG
from appliers.stores.dynamodb_tables_spec import CONTROL
from binlog.aws.errors import error_code
from binlog.errors import RefusedError
from binlog.values import RESERVED_ATTRIBUTE

FILTER = "attribute_not_exists(#binlog.#tombstone)"
"""The filter expression that is true of live items; of items that no log wrote, too."""

NAMES: Mapping[str, str] = {"#binlog": RESERVED_ATTRIBUTE, "#tombstone": "d"}
"""Its expression attribute names. It needs no values."""

_CATALOG_PLAIN = {name: value["S"] for name, value in CATALOG.items()}
_BATCH_MAX = 100  # keys of a BatchGetItem; API_BatchGetItem.html
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.05, 2.0
_LEGACY = ("AttributesToGet", "ConditionalOperator", "QueryFilter", "ScanFilter")


class Marks(msgspec.Struct, frozen=True):
    """What the log has noted on an item."""

    version: int  # offset of the last event in it
    partition: int
    tombstone: bool
    parked: bool  # a later event could not be applied: the item is as it was before


def marks(item: Mapping[str, Any]) -> Marks | None:
    """What is noted on an item; ``None`` of one that no log wrote, or without the attribute."""
    found = item.get(RESERVED_ATTRIBUTE)
    if not isinstance(found, Mapping):
        return None
    plain = _plain(found["M"]) if "M" in found else found
    return Marks(
        version=int(plain.get("v", 0)),
        partition=int(plain.get("p", 0)),
        tombstone=bool(plain.get("d", False)),
        parked=bool(plain.get("k", False)),
    )


def _plain(typed: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: next(iter(value.values())) for name, value in typed.items()}


def shown(item: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The item without ``_binlog``; ``None`` of a tombstone, or of nothing."""
    if item is None:
        return None
    found = marks(item)
    if found is not None and found.tombstone:
        return None
    return {name: value for name, value in item.items() if name != RESERVED_ATTRIBUTE}


def hide(request: Mapping[str, Any]) -> dict[str, Any]:
    """A Query or Scan that passes over tombstones, and otherwise does what ``request`` does.

    Its own filter may be an expression or a boto3 condition. DynamoDB filters after it has read: a
    tombstone counts for ``Limit`` and costs its read units, and a page may be empty.

    Raises:
        ValueError: legacy parameters, or one of our names used for another attribute.
    """
    own = request.get("FilterExpression")
    if own is None:
        return _named(request, NAMES) | {"FilterExpression": FILTER}
    if isinstance(own, str):
        return _named(request, NAMES) | {"FilterExpression": f"({own}) AND {FILTER}"}
    from boto3.dynamodb.conditions import Attr

    _refuse_legacy(request)
    lives = Attr(f"{RESERVED_ATTRIBUTE}.d").not_exists()
    return {**request, "FilterExpression": own & lives}


def _named(request: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    _refuse_legacy(request)
    given = request.get("ExpressionAttributeNames", {})
    for name, attribute in names.items():
        if given.get(name, attribute) != attribute:
            raise ValueError(f"{name} stands for {given[name]!r}; it is needed for {attribute!r}")
    return {**request, "ExpressionAttributeNames": {**given, **names}}


def _refuse_legacy(request: Mapping[str, Any]) -> None:
    if legacy := [name for name in _LEGACY if name in request]:
        raise ValueError(f"{legacy[0]}: write an expression, legacy parameters cannot be joined")


def _seeing_marks(request: Mapping[str, Any]) -> dict[str, Any]:
    """A request whose projection, if it has one, includes the marks."""
    projection = request.get("ProjectionExpression")
    if projection is None:
        _refuse_legacy(request)
        return dict(request)
    named = _named(request, {"#binlog": RESERVED_ATTRIBUTE})
    return named | {"ProjectionExpression": f"{projection}, #binlog"}


class LiveTables:
    """The tables of one store, by the names that the log has for them.

    Which physical table is live is in the store's own table (``PREFIX.binlog``, or as the
    specification file says), and is looked up again after ``refresh_s``: for that long a reader may
    see the table that a rebuild has just replaced, as it was last. Where that one is gone already,
    it looks at once.

    ``plain``: the client is a resource's. May be shared by threads: at worst all of them look.
    """

    def __init__(
        self,
        client: Any,
        prefix: str,
        *,
        plain: bool = False,
        control: str | None = None,
        refresh_s: float = 30.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._key = _CATALOG_PLAIN if plain else CATALOG
        self._control = control or f"{prefix}.{CONTROL}"
        self._refresh_s = refresh_s
        self._monotonic = monotonic
        self._looked: tuple[float, dict[str, str]] = (float("-inf"), {})

    def table(self, table: str) -> LiveTable:
        """A reader of the table that is live, each time it is called.

        Raises:
            RefusedError: the store has no such table, or nothing was written to it yet.
        """
        return LiveTable(self._client, self.name(table), gone=lambda name: self.name(table, name))

    def name(self, table: str, gone: str | None = None) -> str:
        """The physical name; not ``gone`` from what was remembered.

        Raises:
            RefusedError: as `table`.
        """
        at, names = self._looked
        name = names.get(table)
        if name in (None, gone) or self._monotonic() - at >= self._refresh_s:
            names = self._look()
            self._looked = (self._monotonic(), names)
            name = names.get(table)
        if name is None:
            known = ", ".join(sorted(names)) or "none"
            raise RefusedError(
                f"the store has no table {table!r}, or nothing is in it yet",
                self._control,
                f"it has: {known}",
                table=table,
            )
        return name

    def _look(self) -> dict[str, str]:
        item = LiveTable(self._client, self._control).get(self._key, ConsistentRead=True) or {}
        text = item.get("catalog", "{}")
        places = _read_catalog(text if isinstance(text, str) else text["S"]).places
        return {table: place.physical for table, place in places.items() if place.physical}


class _Place(msgspec.Struct):
    physical: str | None = None


class _Catalog(msgspec.Struct):
    """Of the catalog (see `dynamodb_catalog`), what a reader needs."""

    places: dict[str, _Place] = {}


_read_catalog = msgspec.json.Decoder(_Catalog).decode


class LiveTable:
    """One table as applications see it: no tombstones, no ``_binlog``.

    ``name`` is the physical one; ``gone`` says, of one that is not there, which it is now. Options
    are DynamoDB's parameters (``ConsistentRead=True``, ``IndexName=..``,
    ``ProjectionExpression=..``). Errors are the SDK's own. As thread-safe as its client, which is.
    """

    def __init__(
        self,
        client: Any,
        name: str,
        *,
        gone: Callable[[str], str] | None = None,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._gone = gone
        self._pause = pause
        self.name = name

    def get(self, key: Mapping[str, Any], **options: Any) -> dict[str, Any] | None:
        """The item; ``None`` where there is none, or no longer one."""
        request = _seeing_marks(options) | {"Key": dict(key)}
        return shown(self._called("get_item", request).get("Item"))

    def get_many(
        self, keys: Iterable[Mapping[str, Any]], **options: Any
    ) -> Iterator[dict[str, Any]]:
        """Those of the items that are there, in no order; what a reply leaves out is asked again.

        The keys are taken a hundred at a time. No key twice among a hundred (DynamoDB refuses it).
        """
        request = _seeing_marks(options)
        remaining = iter(keys)
        pause_s = _PAUSE_FIRST_S
        asked: list[Any] = []
        while asked := asked + [dict(key) for key in islice(remaining, _BATCH_MAX - len(asked))]:
            reply = self._called("batch_get_item", request | {"Keys": asked})
            yield from filter(None, map(shown, reply["Responses"].get(self.name, ())))
            asked = reply.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if asked:
                self._pause(pause_s * random.uniform(0.5, 1))
                pause_s = min(pause_s * 2, _PAUSE_MOST_S)
            else:
                pause_s = _PAUSE_FIRST_S

    def query(self, **options: Any) -> Iterator[dict[str, Any]]:
        """Of all pages, in order. ``Limit`` is the size of a page as DynamoDB reads it."""
        return self._pages("query", options)

    def scan(self, **options: Any) -> Iterator[dict[str, Any]]:
        """Of all pages. ``Limit`` as in `query`."""
        return self._pages("scan", options)

    def page(
        self, operation: str, size: int, *, after: Mapping[str, Any] | None = None, **options: Any
    ) -> tuple[list[dict[str, Any]], dict[str, Any] | None]:
        """Up to ``size`` items of a ``"query"`` or ``"scan"``, and what to go on ``after``.

        ``None`` at the end. As many as there are: not fewer because of tombstones among them.
        """
        if operation not in {"query", "scan"} or size < 1:
            raise ValueError(f"{operation!r} of size {size}: 'query' or 'scan', of at least 1")
        request = _filtered(options)
        if after is not None:
            request["ExclusiveStartKey"] = after
        found: list[dict[str, Any]] = []
        while True:
            # Never more than what is missing, so that what we go on after is what was shown last.
            reply = self._called(operation, request | {"Limit": size - len(found)})
            found += filter(None, map(shown, reply["Items"]))
            end: dict[str, Any] | None = reply.get("LastEvaluatedKey")
            if end is None or len(found) == size:
                return found, end
            request["ExclusiveStartKey"] = end

    def _pages(self, operation: str, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        request = _filtered(options)  # refused at the call, not at the first item

        def items() -> Iterator[dict[str, Any]]:
            while True:
                reply = self._called(operation, request)
                yield from filter(None, map(shown, reply["Items"]))
                after = reply.get("LastEvaluatedKey")
                if after is None:
                    return
                request["ExclusiveStartKey"] = after

        return items()

    def _called(self, operation: str, request: dict[str, Any]) -> Any:
        """A reply of the table; once more of the one that has replaced it."""
        while True:
            name = self.name
            of_table: dict[str, Any] = {"TableName": name} | request
            if operation == "batch_get_item":
                of_table = {"RequestItems": {name: request}}
            try:
                return getattr(self._client, operation)(**of_table)
            except Exception as error:
                if self._gone is None or error_code(error) != "ResourceNotFoundException":
                    raise
                self.name = self._gone(name)
                if self.name == name:
                    raise


def _filtered(options: Mapping[str, Any]) -> dict[str, Any]:
    """A request of items, live ones only; the filter sees the whole item, whatever is projected."""
    if options.get("Select") == "COUNT":
        raise ValueError("Select='COUNT' gives no items: call the client with hide(..)")
    return hide(options)
