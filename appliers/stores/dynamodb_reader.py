"""Reading a DynamoDB store: the newest, or one moment as long as nobody writes.

Everything is read strongly consistent. A moment cannot be kept: `Moment` reads the catalog, the
checkpoints and the number of the last commit when it begins, and each of its later reads looks
afterwards whether these are still the same. If not, `BusyError`: what was read is no moment's.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

import msgspec

from appliers.item import Rejection, Row
from appliers.letters import DeadLetter, Item
from appliers.store import Checkpoint, Generation
from appliers.stores.dynamodb_calls import MISSING, Calls
from appliers.stores.dynamodb_catalog import (
    CATALOG,
    FOREIGN,
    RELAYED,
    Catalog,
    Standing,
    catalog_of,
    checkpoint_key,
    checkpoints_pk,
    foreign_of_rows,
    foreign_sk,
    rejection_of,
    rejections_pk,
    standing_of,
)
from appliers.stores.dynamodb_items import Attributes, Keys, key_attributes, row_of
from appliers.stores.dynamodb_lease import LOCK, Ahead, Lock, ahead_of, lock_of
from appliers.stores.dynamodb_letters import read_letters
from appliers.stores.dynamodb_rows import BATCH_GET, Rows, get_batch
from appliers.stores.dynamodb_states import States
from appliers.stores.generations import of_partitions
from appliers.stores.sorted_runs import SortedRuns
from binlog.aws.errors import error_code
from binlog.errors import BinlogError, BusyError, DamageError
from binlog.foreign import Foreign
from binlog.vector import offset_of

_SEGMENTS = 4  # of a scan, each read by a thread
_SETTLE_S = 5.0  # how long a moment without a commit under way is waited for
_SETTLE_PAUSE_S = 0.1

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder().decode


def read_catalog(rows: Rows, name: str) -> Catalog:
    """The catalog as it is now. Raises as `catalog_of`."""
    return catalog_of(rows.get(CATALOG), name)


def read_standings(
    rows: Rows, generation: str, name: str, partitions: Collection[int] | None = None
) -> dict[int, Standing]:
    """The checkpoint rows of a generation, states as they are stored, by partition."""
    if partitions is None:
        items: Iterable[Attributes] = rows.query(checkpoints_pk(generation))
    else:
        items = rows.get_all([checkpoint_key(generation, each) for each in sorted(partitions)])
    found = (standing_of(item, generation, name) for item in items)
    return {standing.checkpoint.partition: standing for standing in found}


# -- items ---------------------------------------------------------------------------------------


def read_items(calls: Calls, keys: Keys, wanted: Sequence[bytes]) -> dict[bytes, Row]:
    """The rows of these keys that are there.

    Raises:
        ConflictError: an item that is not the log's. DamageError: a damaged one.
        RefusedError: there is no such table.
    """
    found: dict[bytes, Row] = {}
    distinct = list(dict.fromkeys(wanted))
    chunks = [distinct[n : n + BATCH_GET] for n in range(0, len(distinct), BATCH_GET)]
    mutex = threading.Lock()

    def read(chunk: Sequence[bytes]) -> None:
        items = get_batch(calls, keys.physical, [key_attributes(key) for key in chunk])
        rows = {keys.key_of(item): row_of(item, keys, calls.name) for item in items}
        with mutex:
            found.update(rows)

    calls.each(read, chunks)
    return found


def spool(calls: Calls, keys: Keys, after: bytes | None, runs: SortedRuns) -> None:
    """Read a whole table into ``runs``, damaged rows as what is wrong with them."""
    mutex = threading.Lock()

    def read(segment: int) -> None:
        more: dict[str, Any] = {}
        while True:
            reply = calls.call(
                "scan",
                TableName=keys.physical,
                ConsistentRead=True,
                Segment=segment,
                TotalSegments=_SEGMENTS,
                ReturnConsumedCapacity="TOTAL",
                **more,
            )
            records = [(keys.key_of(item), item) for item in reply["Items"]]
            packed = [
                (k, _packed(i, keys, calls.name)) for k, i in records if not after or k > after
            ]
            with mutex:
                for key, value in packed:
                    runs.add(key, value)
            if not reply.get("LastEvaluatedKey"):
                return
            more = {"ExclusiveStartKey": reply["LastEvaluatedKey"]}

    calls.each(read, range(_SEGMENTS))


def _packed(item: Mapping[str, Any], keys: Keys, name: str) -> bytes:
    try:
        row = row_of(item, keys, name)
    except BinlogError as error:
        return _encode([error.what, error.where, error.do])
    return pack_row(row)


def pack_row(row: Row) -> bytes:
    """A row as it lies in a file of this process, or of its workers."""
    return _encode((row.version, row.partition, row.data, row.parked, row.tail))


def unpack_row(value: bytes) -> Row:
    """The row of `pack_row`."""
    return Row(*_decode(value))


def unspool(runs: SortedRuns, keys: Keys) -> Iterator[tuple[bytes, Row]]:
    """The rows in order; a damaged one raises, and going on after its key goes on."""
    for key, value in runs.sorted():
        fields = _decode(value)
        if len(fields) == 3:
            raise DamageError(*fields, table=keys.table, key=key)
        yield key, Row(*fields)


# -- the store -----------------------------------------------------------------------------------


class Moment:
    """A `Reader` of what the store is as it begins; a read after somebody wrote is a BusyError."""

    def __init__(self, calls: Calls, rows: Rows, name: str, states: States) -> None:
        self.name = name
        self._calls = calls
        self._rows = rows
        self._states = states
        deadline = calls.clock.monotonic() + _SETTLE_S
        # What has no moment can be looked at all the same: only items are then refused.
        while not self._begin() and calls.clock.monotonic() < deadline:
            calls.pause(_SETTLE_PAUSE_S)

    def _begin(self) -> bool:
        """Read what a moment is known by; whether it is one."""
        self._lock = lock_of(self._rows.get(LOCK))
        self._catalog = read_catalog(self._rows, self.name)
        self._standings = {
            generation.id: read_standings(self._rows, generation.id, self.name)
            for generation in self._catalog.generations
        }
        is_ahead = bool(still_ahead(self._lock, self._standings))
        self._is_settled = not is_ahead and self._is_still()
        self._applied = {
            id_: {p: standing.checkpoint.applied for p, standing in standings.items()}
            for id_, standings in self._standings.items()
        }
        return self._is_settled

    def _is_still(self) -> bool:
        lock = lock_of(self._rows.get(LOCK))
        return lock.begun == self._lock.begun and self._catalog == read_catalog(
            self._rows, self.name
        )

    def check(self) -> None:
        """That what was read since the beginning is one moment's."""
        if not self._is_settled:
            raise BusyError(
                "a commit is under way, or was left unfinished",
                self.name,
                "try again; if nobody writes to it, binlog replicate finishes it",
            )
        if not self._is_still():
            raise self._written()

    def _written(self) -> BusyError:
        return BusyError(
            "the store was written while it was read",
            self.name,
            "a DynamoDB store cannot keep a moment: try again while nobody writes to it",
        )

    def genesis(self) -> bytes | None:
        return self._catalog.genesis

    def generations(self) -> list[Generation]:
        return list(self._catalog.generations)

    def checkpoints(
        self, generation: str, partitions: Collection[int] | None = None
    ) -> dict[int, Checkpoint]:
        self._catalog.live(generation, self.name)
        found = {}
        for partition, standing in of_partitions(self._standings[generation], partitions).items():
            now, state = self._states.whole(generation, standing)
            if now.rev != standing.rev:
                raise self._written()
            found[partition] = msgspec.structs.replace(now.checkpoint, state=state)
        return found

    def read(self, generation: str, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        place = self._catalog.readable(generation, table, self.name)
        with _checked(self):
            found = read_items(self._calls, place, keys) if place else {}
        if place is not None and place.adopted is not None:
            applied, adopted = self._applied[generation], place.adopted
            found = {k: row for k, row in found.items() if adopted.is_there(row, applied)}
        for row in found.values():
            self._check_reached(generation, row)
        return found

    def scan(self, table: str, *, after: bytes | None = None) -> Iterator[tuple[bytes, Row]]:
        place = self._catalog.keys(table)
        if place is None:
            return
        runs = SortedRuns()
        try:
            with _checked(self):
                spool(self._calls, place, after, runs)
            owner, adopted = self._catalog.owner(table), place.adopted
            applied = self._applied.get(owner or "", {})
            for key, row in unspool(runs, place):
                if adopted is not None and not adopted.is_there(row, applied):
                    continue
                self._check_reached(owner, row)
                yield key, row
        finally:
            runs.close()

    def _check_reached(self, generation: str | None, row: Row) -> None:
        """That a row of a store that has or had many writers is not ahead of its checkpoint.

        Those that are not are of one moment, whatever was written meanwhile: each holds all events up
        to the checkpoint, and none after it.
        """
        if generation is not None and not self._is_reached(
            generation, row.partition, offset_of(max(row.version, row.tail))
        ):
            # Also where nobody writes any more: one of the team was killed between items and checkpoint.
            raise BusyError(
                f"an item is ahead of the checkpoint of partition {row.partition}: a commit is under way,"
                " or was left unfinished",
                self.name,
                "try again; if nobody writes to it, let its consumer go on: that finishes it",
                partition=row.partition,
            )

    def _is_reached(self, generation: str, partition: int, offset: int) -> bool:
        """Whether it is behind the checkpoint; what one writer alone is ahead with is known otherwise."""
        has_team = self._catalog.shared or self._catalog.was_shared
        return not has_team or offset <= self._applied[generation].get(partition, 0)

    def rejections(self, table: str | None = None) -> Iterator[Rejection]:
        found: list[Rejection] = []
        with _checked(self):
            for generation in self._catalog.generations:
                items = self._rows.query(rejections_pk(generation.id))
                each = (rejection_of(item, self.name) for item in items)
                # Of a table that a build took, or of a commit that has not come to its end.
                found += [
                    r
                    for r in each
                    if r.table in generation.tables
                    and self._is_reached(generation.id, r.partition, r.offset)
                ]
        ordered = sorted(found, key=lambda r: (r.table, r.partition, r.offset, r.key))
        for name, group in groupby(ordered, key=lambda r: r.table):
            if table in (None, name):
                yield from group

    def letters(
        self, table: str | None = None, *, item: Item | None = None
    ) -> Iterator[DeadLetter]:
        for generation, name in self._catalog.letters_of(table):
            with _checked(self):
                found = list(read_letters(self._rows, generation, name, self.name, item))
            yield from found

    def foreign(self) -> Iterator[Foreign]:
        # Records first: one that is relayed meanwhile is left out.
        with _checked(self):
            kept = list(foreign_of_rows(self._rows.query({"S": FOREIGN}), self.name))
            relayed = {item["sk"]["S"] for item in self._rows.query({"S": RELAYED})}
        yield from (record for record in kept if foreign_sk(record.place) not in relayed)


class _checked:  # noqa: N801 - reads as a statement
    """Afterwards, look whether it was one moment; a table that went meanwhile says that it was not.

    One that is gone although nobody replaced it is damage.
    """

    def __init__(self, moment: Moment) -> None:
        self._moment = moment

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        is_missing = error is not None and error_code(error.__cause__ or error) == MISSING
        if error is None or is_missing:
            self._moment.check()
        if is_missing:
            raise DamageError(
                "the store lacks a table that its catalog names",
                self._moment.name,
                "was it deleted by hand? binlog rebuild LOG STORE makes it anew",
            ) from error


def still_ahead(lock: Lock, standings: Mapping[str, Mapping[int, Standing]]) -> Ahead:
    """What items may be ahead of checkpoints; ``standings`` are the live generations'."""

    def applied(generation: str) -> Mapping[int, int] | None:
        rows = standings.get(generation)
        return None if rows is None else {p: row.checkpoint.applied for p, row in rows.items()}

    return ahead_of(lock, applied)
