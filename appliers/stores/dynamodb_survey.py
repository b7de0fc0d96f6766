"""A DynamoDB store read for a snapshot while it is written to: see `appliers.survey`.

Order of reads. The catalog tells which generation; then come its checkpoint rows; then the catalog
once more, whose tables are those of the snapshot. A table comes into the catalog before a checkpoint
passes its first event (`dynamodb_commit`, 5 before 6), so a table that is not in the second catalog has
no event up to the checkpoints. The first catalog would not do: between it and the checkpoints a
consumer may add a table and go on.

Scans are strongly consistent, a segment each. That an item which stays is given once by a parallel scan,
however long it takes, is what the service promises of any scan:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Scan.html
"""

from __future__ import annotations

import threading
from base64 import b64decode
from collections.abc import Iterator
from itertools import groupby
from typing import Any

import msgspec

from appliers.item import Rejection
from appliers.letters import DeadLetter, letter_order
from appliers.store import Checkpoint, Generation
from appliers.stores.dynamodb_calls import MISSING, Calls
from appliers.stores.dynamodb_catalog import (
    FOREIGN,
    RELAYED,
    Catalog,
    foreign_of_rows,
    rejection_of,
    rejections_pk,
)
from appliers.stores.dynamodb_items import Keys, row_of
from appliers.stores.dynamodb_letters import read_letters
from appliers.stores.dynamodb_reader import read_catalog, read_standings
from appliers.stores.dynamodb_rows import Rows
from appliers.stores.dynamodb_size import Size, size_of
from appliers.stores.dynamodb_states import States
from appliers.survey import Page, bound_to, chosen, tables_of_others
from binlog.aws.errors import error_code
from binlog.errors import BinlogError, DamageError, LostError
from binlog.foreign import Foreign, Place

_PAGE_FIRST = 100  # items of the first page where reading is bounded: their size is not known yet
_LETTERS_TRIES = 5  # while one that has several rows is being removed
_LETTERS_PAUSE_S = 0.5

_encode_key = msgspec.json.Encoder().encode
_decode_key = msgspec.json.Decoder().decode


class Rate:
    """Read units a second, of any number of threads together."""

    def __init__(self, calls: Calls, units_per_s: float | None) -> None:
        self._calls = calls
        self.units_per_s = units_per_s
        self._mutex = threading.Lock()
        self._free_at = calls.clock.monotonic()

    def spend(self, units: float) -> None:
        """Wait until what was consumed is within the rate."""
        if self.units_per_s is None:
            return
        with self._mutex:
            now = self._calls.clock.monotonic()
            self._free_at = max(now, self._free_at) + units / self.units_per_s
            wait_s = self._free_at - now
        self._calls.pause(wait_s)


class DynamoDBSurvey:
    """A `Survey`; the calls are its store's."""

    is_moment = False

    def __init__(
        self,
        calls: Calls,
        rows: Rows,
        states: States,
        name: str,
        generation: str | None,
        rate: float | None,
    ) -> None:
        self.name = name
        self._calls = calls
        self._store_rows = rows
        self._rate = Rate(calls, rate)
        first = chosen(read_catalog(rows, name).generations, generation, name)
        self._checkpoints: dict[int, Checkpoint] = {}
        for partition, standing in read_standings(rows, first.id, name).items():
            now, state = states.whole(first.id, standing)
            self._checkpoints[partition] = msgspec.structs.replace(now.checkpoint, state=state)
        self._catalog = read_catalog(rows, name)
        self.genesis = bound_to(self._catalog.genesis, name)
        self.generation = self._catalog.live(first.id, name)
        self.without = tables_of_others(self._catalog.generations, self.generation)
        self._sizes: dict[str, float] = {}  # read units an item, by table

    def checkpoints(self) -> dict[int, Checkpoint]:
        return dict(self._checkpoints)

    def size(self, table: str) -> Size | None:
        keys = self._catalog.keys(table)
        return None if keys is None else size_of(self._calls, keys.physical)

    # -- rows --------------------------------------------------------------------------------------

    def pages(
        self, table: str, segment: int, segments: int, *, after: bytes | None = None
    ) -> Iterator[Page]:
        keys = self._catalog.keys(table)
        if keys is None:  # nothing was written to it when the checkpoints were read
            yield Page((), None)
            return
        more: dict[str, Any] = {} if after is None else {"ExclusiveStartKey": _start(after)}
        while True:
            reply = self._scan(keys, segment, segments, more)
            rows = [(keys.key_of(item), row_of(item, keys, self.name)) for item in reply["Items"]]
            last = reply.get("LastEvaluatedKey")
            yield Page(rows, _through(last) if last else None)
            if not last:
                return
            more = {"ExclusiveStartKey": last}

    def _scan(self, keys: Keys, segment: int, segments: int, more: dict[str, Any]) -> Any:
        rate = self._rate.units_per_s
        if rate is not None:
            size = self._sizes.get(keys.table)
            limit = _PAGE_FIRST if size is None else max(1, int(rate / max(size, 1e-3)))
            more = {**more, "Limit": min(limit, 100_000)}
        try:
            reply = self._calls.call(
                "scan",
                TableName=keys.physical,
                ConsistentRead=True,
                Segment=segment,
                TotalSegments=segments,
                ReturnConsumedCapacity="TOTAL",
                **more,
            )
        except BinlogError as error:
            if error_code(error.__cause__ or error) == MISSING:
                raise self._replaced() from error
            raise
        units = float(reply.get("ConsumedCapacity", {}).get("CapacityUnits", 0.0))
        if reply["Items"]:
            self._sizes[keys.table] = units / len(reply["Items"])
        self._rate.spend(units)
        return reply

    # -- beside them -------------------------------------------------------------------------------

    def letters(self) -> Iterator[DeadLetter]:
        for table in (*([""] if self.generation.open else ()), *self.generation.tables):
            yield from self._letters_of(table)

    def _letters_of(self, table: str) -> Iterator[DeadLetter]:
        before: tuple[Any, ...] = ()
        for left in reversed(range(_LETTERS_TRIES)):
            try:
                for letter in read_letters(self._store_rows, self.generation.id, table, self.name):
                    if letter_order(letter) > before:
                        before = letter_order(letter)
                        yield letter
            except DamageError:
                if not left:
                    raise
                self._calls.pause(_LETTERS_PAUSE_S)
            else:
                return

    def rejections(self) -> Iterator[Rejection]:
        pk = rejections_pk(self.generation.id)
        for table in self.generation.tables:
            items = self._store_rows.query(pk, begins=f"{table}#")
            found = (rejection_of(item, self.name) for item in items)
            # Of one offset they are in the order of their keys' hashes.
            for _, alike in groupby(found, key=lambda each: (each.partition, each.offset)):
                yield from sorted(alike, key=lambda each: each.key)

    def foreign(self) -> Iterator[Foreign]:
        yield from foreign_of_rows(self._store_rows.query({"S": FOREIGN}), self.name)

    def relayed(self) -> Iterator[Place]:
        # After the records: one that is relayed meanwhile is told by its place.
        for item in self._store_rows.query({"S": RELAYED}):
            shard, sequence, _ = item["sk"]["S"].rsplit("#", 2)
            yield shard, int(sequence)

    def check(self) -> Generation:
        now: Catalog = read_catalog(self._store_rows, self.name)
        found = next((g for g in now.generations if g.id == self.generation.id), None)
        if found is None or not set(self.generation.tables) <= set(found.tables):
            raise self._replaced()
        if found.excluded != self.generation.excluded:
            raise LostError(
                "an event was left out of the store while it was read",
                self.name,
                "take the snapshot again",
            )
        return found

    def _replaced(self) -> LostError:
        return LostError(
            "the store was rebuilt while it was read", self.name, "take the snapshot again"
        )


def _through(key: dict[str, Any]) -> bytes:
    """A place of a scan as bytes; binary keys as base64, which their type tells."""
    return _encode_key(key)


def _start(place: bytes) -> dict[str, Any]:
    found = _decode_key(place)
    return {
        name: {kind: b64decode(text) if kind == "B" else text}
        for name, value in found.items()
        for kind, text in value.items()
    }
