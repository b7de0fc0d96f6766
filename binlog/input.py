"""JSON Lines in, envelopes out: what ``binlog append`` reads.

A line is an action, or, without ``Action``, an item. `binlog.actions` says what an action holds
and refuses what no reader could apply; this module reads the lines, knows their numbers, and
turns DynamoDB JSON into values first where the format asks for it.

No I/O: bytes come in as they arrive (`InputLines.take`), in pieces of any size, and what the whole
lines among them say comes out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeAlias

import msgspec
import uuid_utils

from binlog.actions import BATCH_WRITE, EVENT, ActionBuilder
from binlog.checked import Checked
from binlog.envelope import PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import RefusedError, TooLargeError
from binlog.json_values import parse_line, untyped_any, untyped_item

InputFormat: TypeAlias = Literal["actions", "items", "dynamodb"]

# A BatchWrite may be long; a file without a line end must not fill the memory.
LINE_BYTES_MAX = 64 * 1024 * 1024
_BLANK = b" \t\r\n"


class InputBatch(msgspec.Struct):
    """The events of some lines, and the line that each came from; a BatchWrite makes several.

    ``refused`` is why reading ended after them, with ``line N`` as its place; nothing of that line
    is in the batch, and nothing can be taken after it.
    """

    envelopes: Checked
    lines: list[int]
    refused: RefusedError | None = None


def new_event_id() -> str:
    """A UUIDv7: unique without asking anybody, and sorted by time for whoever reads the log."""
    return str(uuid_utils.uuid7())


class InputLines:
    """Reads lines of one format. ``table`` and ``key_names`` fill in what a line leaves out."""

    def __init__(
        self,
        *,
        input_format: InputFormat = "actions",
        table: str | None = None,
        key_names: Sequence[str] | None = None,
        now_ms: Callable[[], int],
        new_id: Callable[[], str] = new_event_id,
    ) -> None:
        builder = ActionBuilder(table=table, key_names=key_names, new_id=new_id)
        self._build = {
            "actions": builder.build,
            "items": _items_only(builder),
            "dynamodb": _from_typed(builder),
        }[input_format]
        self._now_ms = now_ms
        self._rest: list[bytes] = []  # pieces of the line that has not ended yet
        self._rest_bytes = 0
        self._number = 0  # lines that have ended

    def take(self, data: bytes) -> InputBatch:
        """The events of the lines that end in ``data``."""
        head, newline, tail = data.rpartition(b"\n")
        if not newline:
            return self._keep(data, InputBatch(Checked(), []))
        lines = head.split(b"\n")
        lines[0] = b"".join((*self._rest, lines[0]))
        self._rest, self._rest_bytes = [], 0
        batch = self._read(lines)
        return self._keep(tail, batch) if batch.refused is None else batch

    def finish(self) -> InputBatch:
        """The event of a last line that has no end."""
        line = b"".join(self._rest)
        self._rest, self._rest_bytes = [], 0
        return self._read([line]) if line else InputBatch(Checked(), [])

    def _keep(self, tail: bytes, batch: InputBatch) -> InputBatch:
        if tail:
            self._rest.append(tail)
            self._rest_bytes += len(tail)
        if self._rest_bytes > LINE_BYTES_MAX:
            batch.refused = _too_long(self._rest_bytes, self._number + 1)
        return batch

    def _read(self, lines: list[bytes]) -> InputBatch:
        envelopes = Checked()
        numbers: list[int] = []
        now_ms, build, number = self._now_ms(), self._build, self._number
        for line in lines:
            number += 1
            if len(line) > LINE_BYTES_MAX:
                return InputBatch(envelopes, numbers, _too_long(len(line), number))
            try:
                built = build(_parse_object(line), now_ms)
            except RefusedError as error:
                if not line.strip(_BLANK):
                    continue  # a blank line, such as one at the end of a file, says nothing
                return InputBatch(envelopes, numbers, _in_line(error, number))
            envelopes += built
            numbers += [number] * len(built)
        self._number = number
        return InputBatch(envelopes, numbers)


def _parse_object(line: bytes) -> dict[str, Any]:
    document = parse_line(line)
    if type(document) is not dict:
        raise RefusedError("neither an action nor an item", do="a line is an object")
    return document


def _in_line(error: RefusedError, number: int) -> RefusedError:
    where = f"line {number}, {error.where}" if error.where else f"line {number}"
    return type(error)(error.what, where, error.do, **{**error.details, "line": number})


def _too_long(size: int, number: int) -> TooLargeError:
    return TooLargeError(
        f"a line of {size} bytes or more, the limit is {LINE_BYTES_MAX}",
        f"line {number}",
        "is this JSON Lines?",
        line=number,
        size=size,
        limit=LINE_BYTES_MAX,
    )


# -- what a parsed line becomes ------------------------------------------------------------------

_Build: TypeAlias = Callable[[dict[str, Any], int], Sequence[Envelope]]


def _items_only(builder: ActionBuilder) -> _Build:
    def build(item: dict[str, Any], now_ms: int) -> Sequence[Envelope]:
        return [builder.build_item(item, now_ms)]

    return build


def _from_typed(builder: ActionBuilder) -> _Build:
    def build(document: dict[str, Any], now_ms: int) -> Sequence[Envelope]:
        # An item may well have an attribute of that name, whose value is then an object.
        if isinstance(document.get("Action"), str):
            return builder.build(untyped_action(document), now_ms)
        return [builder.build_item(_typed_item(document), now_ms)]

    return build


def _typed_item(document: dict[str, Any]) -> dict[str, Any]:
    """An item, bare or as a line of a DynamoDB export, ``{"Item": {..}}``."""
    if len(document) == 1 and "Item" in document:
        try:
            return untyped_item(document["Item"])
        except RefusedError:
            return untyped_item(document)  # an item with one attribute of that name
    return untyped_item(document)


def untyped_action(document: dict[str, Any]) -> dict[str, Any]:
    """The action with the typed values in ``Key``, ``Data`` and ``Meta`` turned into values.

    ``Data`` may be a typed value, ``{"S": "text"}``, or an attribute map; which of the two it is
    can be told (see `binlog.json_values`).

    Raises:
        RefusedError: a value is not of DynamoDB JSON; the field is named.
    """
    readers = {
        "Key": untyped_item,
        "Meta": untyped_item,
        "Data": _DATA_READERS.get(document["Action"], _unchanged),
    }
    action = dict(document)
    for field, read in readers.items():
        if action.get(field) is None:
            continue
        try:
            action[field] = read(action[field])
        except RefusedError as error:
            raise RefusedError(f"{field}: {error.what}", error.where, error.do) from error
    return action


def _unchanged(data: object) -> object:
    return data  # `ActionBuilder` refuses it, or the action


def _typed_batch(elements: object) -> object:
    return [_typed_element(element) for element in elements] if type(elements) is list else elements


def _typed_element(element: object) -> object:
    if type(element) is dict and set(element) == {"Delete"}:
        try:
            return {"Delete": untyped_item(element["Delete"])}
        except RefusedError:
            return untyped_any(element)  # an item with one attribute of that name
    return untyped_any(element)


def _typed_change(change: object) -> object:
    if type(change) is not dict:
        return change
    return {
        section: content if section == "Remove" else untyped_item(content)
        for section, content in change.items()
    }


_DATA_READERS: dict[object, Callable[[object], object]] = {
    PUT_ITEM: untyped_any,
    UPDATE_ITEM: _typed_change,
    BATCH_WRITE: _typed_batch,
    EVENT: untyped_any,
}
