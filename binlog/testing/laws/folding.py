"""Short lists of events folded by the real code, one after the other, with all that came of it.

The events are numbered as a log would: each goes to the partition of its table and key, and takes
the next offset there. Every partition has its own life, so lists stay short and keys may collide.
Nothing here knows Hypothesis: the twin process (`binlog.testing.laws.twin`) runs this too.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from appliers.applier import ApplierError, Rules
from appliers.batch import fold_batch
from appliers.exclusion import Exclusions
from appliers.fold import Fold
from appliers.item import Rejection, Row, Write
from appliers.routing import Routing
from appliers.stores.memory import MemoryStore
from binlog.columns import columns_of
from binlog.envelope import Envelope
from binlog.errors import PoisonError, RefusedError, UpgradeError
from binlog.frame import Session
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.run import Run
from binlog.testing.laws.instruments import Instruments, instrumented
from binlog.testing.laws.trouble import Trouble, trouble_of

PARTITIONS = 8
PARAMS = Params(log_id="c" * 32, partitions=PARTITIONS)
SESSION = Session(b"\x0c" * 16, 1)
ARRIVAL_MS = 1_700_000_000_000


class Placed(msgspec.Struct, frozen=True):
    """An event with its place in the log."""

    index: int  # in the list, from 0
    envelope: Envelope
    partition: int
    offset: int

    @property
    def run(self) -> Run:
        return run_of([self])


class Written(msgspec.Struct, frozen=True):
    """What an event made of an item."""

    index: int  # of the event
    table: str
    key: bytes
    version: int
    data: bytes | None  # None: deleted


class Outcome(msgspec.Struct):
    """What came of a list of events, folded one by one."""

    written: list[Written] = []
    refused: dict[int, str] = {}
    """Events that the appliers declared impossible (`ApplierError`), and why."""
    rejections: list[tuple[int, str, bytes, int, int]] = []
    """Events whose expected version was not the item's: index, table, key, expected, found."""
    unrouted: list[int] = []
    """Events that no applier takes."""
    trouble: Trouble | None = None
    """The first event that broke a law by itself; nothing after it was folded."""

    @property
    def rows(self) -> dict[tuple[str, bytes], tuple[int, bytes | None]]:
        """By table and key: version and bytes at the end."""
        return {(w.table, w.key): (w.version, w.data) for w in self.written}


def place(events: Iterable[Envelope]) -> list[Placed]:
    """The events in order, each with its partition and offset."""
    reached: dict[int, int] = {}
    found = []
    for index, envelope in enumerate(events):
        partition = partition_of(ordering_key(envelope.table, envelope.key), PARTITIONS)
        offset = reached[partition] = reached.get(partition, 0) + 1
        found.append(Placed(index, envelope, partition, offset))
    return found


def run_of(placed: Sequence[Placed]) -> Run:
    """Consecutive events of one partition as one run."""
    first = placed[0]
    columns = columns_of([event.envelope for event in placed])
    numbers = range(first.offset, first.offset + len(placed))
    return Run(first.partition, first.offset, columns, numbers, SESSION, ARRIVAL_MS, first.offset)


def runs_of(placed: Sequence[Placed]) -> list[Run]:
    """The events as one run a partition."""
    by_partition: dict[int, list[Placed]] = {}
    for event in placed:
        by_partition.setdefault(event.partition, []).append(event)
    return [run_of(events) for events in by_partition.values()]


def fold_each(rules: Rules, placed: Iterable[Placed], tools: Instruments) -> Outcome:
    """Fold the events one by one, in the order given, each onto what a store reads back.

    An event that its applier declares impossible is left out, as ``--exclude`` would, and the fold
    goes on. Anything else that goes wrong ends it.
    """
    outcome = Outcome()
    routing = Routing(PARAMS, rules=instrumented(rules, tools))
    shelf = Shelf()
    for event in placed:
        tools.begin(event.index)
        try:
            batch = fold_batch(routing, [event.run], shelf.read)
        except PoisonError as error:
            declared = tools.error
            if (
                declared is not None
                and isinstance(declared.error, ApplierError)
                and declared.role != "upcaster"
            ):
                outcome.refused[event.index] = str(declared.error)
                continue
            outcome.trouble = trouble_of(error, event.index, routing, tools)
            return outcome
        except UpgradeError as error:
            raise RefusedError(
                f"an event of a schema that the appliers do not know ({error.what})",
                do="declare it with event_type(), or give events of the schemas that there are",
            ) from error
        finally:
            tools.end()
        shelf.write(batch.writes)
        outcome.written += (
            Written(event.index, w.table, w.key, w.row.version, w.row.data) for w in batch.writes
        )
        outcome.rejections += ((event.index, *_rejection(r)) for r in batch.rejections)
        if batch.counts.unrouted:
            outcome.unrouted.append(event.index)
    return outcome


def fold_cut(
    rules: Rules, placed: Sequence[Placed], refused: Iterable[int], cut: int
) -> tuple[dict[tuple[str, bytes], Row], set[tuple[str, bytes, int, int]]]:
    """The events before ``cut`` as one batch, those from there on as another; rows, rejections.

    Raises:
        PoisonError: an event that one by one went through.
    """
    routing = _without(rules, placed, refused)
    shelf = Shelf()
    rejected: set[tuple[str, bytes, int, int]] = set()
    for part in (placed[:cut], placed[cut:]):
        batch = fold_batch(routing, runs_of(part), shelf.read)
        shelf.write(batch.writes)
        rejected.update(_rejection(rejection) for rejection in batch.rejections)
    return shelf.rows(), rejected


def fold_whole(
    rules: Rules, placed: Sequence[Placed], refused: Iterable[int]
) -> dict[tuple[str, bytes], Row]:
    """All events onto nothing, as a rebuild does.

    Raises:
        PoisonError: an event that one by one went through.
    """
    fold = Fold(_without(rules, placed, refused))
    for run in runs_of(placed):
        fold.add(run)
    return {(table, key): row for table in fold.tables for key, row in fold.rows(table)}


def _without(rules: Rules, placed: Sequence[Placed], refused: Iterable[int]) -> Routing:
    ranges = [
        f"offsets={event.partition}:{event.offset}-{event.offset}"
        for event in (placed[index] for index in refused)
    ]
    return Routing(PARAMS, rules=rules, exclusions=Exclusions(ranges) if ranges else None)


def _rejection(found: Rejection) -> tuple[str, bytes, int, int]:
    return found.table, found.key, found.expected, found.found


class Shelf:
    """A `MemoryStore` as a fold needs it."""

    def __init__(self) -> None:
        self._store = MemoryStore()
        self._generation = self._store.create(tables=None, fingerprint="", excluded=()).id
        self._tables: dict[str, None] = {}

    def read(self, table: str, keys: Sequence[bytes]) -> dict[bytes, Row]:
        return self._store.read(self._generation, table, keys)

    def write(self, writes: Sequence[Write]) -> None:
        self._tables.update(dict.fromkeys(write.table for write in writes))
        failed = self._store.commit(self._generation, writes, ())
        if failed:
            raise AssertionError(f"a write on what was just read failed: {failed}")

    def rows(self) -> dict[tuple[str, bytes], Row]:
        return {(table, key): row for table in self._tables for key, row in self._store.scan(table)}
