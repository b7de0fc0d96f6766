"""Short ways to envelopes, runs and a store in a dict, and a fold that shares nothing with ours."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from decimal import Context, Decimal
from typing import Any

import msgspec

from appliers.batch import Batch, fold_batch
from appliers.fold import Fold
from appliers.item import Row, Write, condition_holds
from appliers.routing import Routing
from binlog.columns import columns_of
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.frame import Session
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.run import Run
from binlog.values import decode_value, encode_value

PARAMS = Params(log_id="ab" * 16, partitions=4)
SESSION = Session(bytes(range(16)), 1)


def put(key: str, *, table: str = "things", expect: int | None = None, **rest: Any) -> Envelope:
    item = {"id": key, **rest}
    return envelope(PUT_ITEM, {"id": key}, item, table=table, expect=expect)


def delete(key: str, *, table: str = "things", expect: int | None = None) -> Envelope:
    return msgspec.structs.replace(
        envelope(DELETE_ITEM, {"id": key}, None, table=table, expect=expect), data=None
    )


def update(
    key: str, *, table: str = "things", expect: int | None = None, **sections: Any
) -> Envelope:
    return envelope(UPDATE_ITEM, {"id": key}, sections, table=table, expect=expect)


def envelope(
    event_type: str,
    key: Mapping[str, Any],
    data: Any,
    *,
    table: str = "",
    schema: int = 1,
    expect: int | None = None,
    event_id: str = "e",
) -> Envelope:
    return Envelope(
        event_id,
        event_type,
        schema,
        table,
        encode_value(dict(key)),
        encode_value(data, outer=2),
        None,
        expect,
        1_000,
    )


def partition_for(event: Envelope, partitions: int = PARAMS.partitions) -> int:
    return partition_of(ordering_key(event.table, event.key), partitions)


def by_partition(
    events: Iterable[Envelope], partitions: int = PARAMS.partitions
) -> dict[int, list[Envelope]]:
    found: dict[int, list[Envelope]] = {}
    for event in events:
        found.setdefault(partition_for(event, partitions), []).append(event)
    return found


def run_of(
    events: Sequence[Envelope], *, partition: int | None = None, first: int = 1, sequence: int = 7
) -> Run:
    """One run; the partition is that of its first event if none is given."""
    if partition is None:
        partition = partition_for(events[0])
    numbers = range(first, first + len(events))
    return Run(partition, first, columns_of(events), numbers, SESSION, 2_000, sequence)


def cut(events: Sequence[Envelope], sizes: Sequence[int], partition: int) -> Iterator[Run]:
    """The events as runs of these sizes, over and over."""
    first, turn = 0, 0
    while first < len(events):
        size = sizes[turn % len(sizes)]
        yield run_of(events[first : first + size], partition=partition, first=first + 1)
        first += size
        turn += 1


def rows_of(fold: Fold, table: str = "things") -> dict[str, tuple[int, Any]]:
    """Key to version and decoded item, ``None`` for a tombstone."""
    return {
        decode_value(key)["id"]: (row.version, None if row.data is None else decode_value(row.data))
        for key, row in fold.rows(table)
    }


class DictStore:
    """Rows in a dict, with the conditions of the port and nothing else."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, bytes], Row] = {}
        self.reads: list[tuple[str, list[bytes]]] = []

    def read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        self.reads.append((table, list(keys)))
        return {key: self.rows[table, key] for key in keys if (table, key) in self.rows}

    def write(self, writes: Iterable[Write]) -> list[Write]:
        """Those whose condition failed."""
        failed = []
        for write in writes:
            if condition_holds(write, self.rows.get((write.table, write.key))):
                self.rows[write.table, write.key] = write.row
            else:
                failed.append(write)
        return failed

    def apply(self, routing: Routing, runs: Sequence[Run], *, read_all: bool = False) -> Batch:
        batch = fold_batch(routing, runs, self.read, read_all=read_all)
        assert self.write(batch.writes) == []
        return batch


# -- a fold of one event at a time, in Python values, from the design's words ---------------------


class Impossible(Exception):  # noqa: N818 what the model says, not an error of the test
    """The event cannot be applied."""


class Model:
    """Items by (table, key text): version and item, ``None`` for a tombstone."""

    def __init__(self) -> None:
        self.items: dict[tuple[str, str], tuple[int, dict[str, Any] | None]] = {}
        self.rejected: list[int] = []

    def apply(self, event: Envelope, offset: int) -> None:
        key = decode_value(event.key)
        place = (event.table, key["id"])
        version, item = self.items.get(place, (0, None))
        live_version = 0 if item is None else version
        if event.expect is not None and event.expect != live_version:
            self.rejected.append(offset)
            return
        data: Any = None if event.data is None else decode_value(event.data)
        if event.type == PUT_ITEM:
            after: dict[str, Any] | None = data
        elif event.type == DELETE_ITEM:
            after = None
        elif event.type == UPDATE_ITEM:
            after = self._updated(dict(key) if item is None else dict(item), data)
        else:
            after = self.domain(item, key, data)
        self.items[place] = (offset, after)

    def domain(
        self, item: dict[str, Any] | None, key: dict[str, Any], data: Any
    ) -> dict[str, Any] | None:
        raise NotImplementedError

    @staticmethod
    def _updated(item: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
        item.update(change.get("Set", {}))
        for name in change.get("Remove", []):
            item.pop(name, None)
        for name, operand in change.get("Add", {}).items():
            if isinstance(operand, frozenset):
                present = item.get(name, type(operand)())
                if not isinstance(present, frozenset) or not _alike(present | operand):
                    raise Impossible
                item[name] = present | operand
            else:
                present = item.get(name, 0)
                if isinstance(present, bool) or not isinstance(present, int | Decimal):
                    raise Impossible
                total = Context(prec=400).add(Decimal(present), Decimal(operand))
                digits = "".join(map(str, total.as_tuple().digits)).strip("0")
                if len(digits) > 38:
                    raise Impossible
                item[name] = total
        for name, operand in change.get("Delete", {}).items():
            if name not in item:
                continue
            present = item[name]
            if not isinstance(present, frozenset) or not _alike(present | operand):
                raise Impossible
            item[name] = present - operand
            if not item[name]:
                del item[name]
        return item


def _alike(members: frozenset[Any]) -> bool:
    return len({"n" if isinstance(m, int | Decimal) else type(m).__name__ for m in members}) == 1
