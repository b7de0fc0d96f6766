"""For applications that read live tables: they hold tombstones and the attribute ``_binlog``.

A deleted item stays as a tombstone: its key and ``_binlog``, in which ``d`` is true. Every read of
a live table has to hide them, by `hide` where DynamoDB filters (Query, Scan), by `shown` where it
does not (GetItem, BatchGetItem, streams). `LiveTable` does both.

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

from binlog.values import RESERVED_ATTRIBUTE

FILTER = "attribute_not_exists(#binlog.#tombstone)"
"""The filter expression that is true of live items; of items that no log wrote, too."""

NAMES: Mapping[str, str] = {"#binlog": RESERVED_ATTRIBUTE, "#tombstone": "d"}
"""Its expression attribute names. It needs no values."""

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


class LiveTable:
    """One table as applications see it: no tombstones, no ``_binlog``.

    ``name`` is the physical one. Options are DynamoDB's parameters (``ConsistentRead=True``,
    ``IndexName=..``, ``ProjectionExpression=..``). Errors are the SDK's own. As thread-safe as its
    client, which is.
    """

    def __init__(
        self, client: Any, name: str, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self._client = client
        self._pause = pause
        self.name = name

    def get(self, key: Mapping[str, Any], **options: Any) -> dict[str, Any] | None:
        """The item; ``None`` where there is none, or no longer one."""
        request = _seeing_marks(options)
        reply = self._client.get_item(TableName=self.name, Key=dict(key), **request)
        return shown(reply.get("Item"))

    def get_many(self, keys: Iterable[Mapping[str, Any]], **options: Any) -> Iterator[Any]:
        """Those of the items that are there, in no order; what a reply leaves out is asked again.

        The keys are taken a hundred at a time. No key twice among a hundred (DynamoDB refuses it).
        """
        request = _seeing_marks(options)
        remaining = iter(keys)
        pause_s = _PAUSE_FIRST_S
        asked: list[Any] = []
        while asked := asked + [dict(key) for key in islice(remaining, _BATCH_MAX - len(asked))]:
            tables = {self.name: {**request, "Keys": asked}}
            reply = self._client.batch_get_item(RequestItems=tables)
            for item in reply["Responses"].get(self.name, ()):
                if (live := shown(item)) is not None:
                    yield live
            left = reply.get("UnprocessedKeys", {}).get(self.name, {}).get("Keys", [])
            if left:
                self._pause(pause_s * random.uniform(0.5, 1))
                pause_s = min(pause_s * 2, _PAUSE_MOST_S)
            else:
                pause_s = _PAUSE_FIRST_S
            asked = left

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
        if size < 1:
            raise ValueError(f"size={size}")
        request = self._request(options)
        if after is not None:
            request["ExclusiveStartKey"] = after
        found: list[dict[str, Any]] = []
        while True:
            # Never more than what is missing, so that what we go on after is what was shown last.
            reply = self._call(operation)(**request, Limit=size - len(found))
            found += filter(None, map(shown, reply["Items"]))
            end: dict[str, Any] | None = reply.get("LastEvaluatedKey")
            if end is None or len(found) == size:
                return found, end
            request["ExclusiveStartKey"] = end

    def _pages(self, operation: str, options: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        call, request = self._call(operation), self._request(options)

        def items() -> Iterator[dict[str, Any]]:
            while True:
                reply = call(**request)
                yield from filter(None, map(shown, reply["Items"]))
                after = reply.get("LastEvaluatedKey")
                if after is None:
                    return
                request["ExclusiveStartKey"] = after

        return items()

    def _call(self, operation: str) -> Callable[..., Any]:
        if operation not in {"query", "scan"}:
            raise ValueError(f"{operation!r} is neither 'query' nor 'scan'")
        call: Callable[..., Any] = getattr(self._client, operation)
        return call

    def _request(self, options: Mapping[str, Any]) -> dict[str, Any]:
        if options.get("Select") == "COUNT":
            raise ValueError("Select='COUNT' gives no items: call the client with hide(..)")
        # The filter works on the whole item, whatever is projected.
        return hide(options) | {"TableName": self.name}
