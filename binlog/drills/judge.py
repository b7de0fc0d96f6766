"""The judge: the ledger and the reference against what is there. Each verdict has its figures."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Collection, Mapping

from appliers.store import Store
from binlog.drills.action import TABLE, Fold, Item
from binlog.drills.ledger import Book, Entry
from binlog.drills.record import Record
from binlog.drills.reference import LINES_MAX, compare, histories
from binlog.log import Log
from binlog.reader import Reader
from binlog.values import decode_value

Wanted = Callable[[Entry], bool]


def read_table(store: Store, table: str = TABLE) -> dict[str, Item]:
    """The items of a table, by id; no tombstones."""
    found = {}
    for key, row in store.scan(table):
        if row.data is not None:
            found[str(decode_value(key)["id"])] = decode_value(row.data)
    return found


def tables_of(store: Store) -> set[str]:
    """Which it has."""
    return {table for generation in store.generations() for table in generation.tables}


def applied_of(store: Store) -> int:
    """Events in a store, all partitions together; the least of its generations."""
    found = [
        sum(row.applied for row in store.checkpoints(generation.id).values())
        for generation in store.generations()
    ]
    return min(found, default=0)


def places_of(log: Log, seen: Counter[str] | None = None) -> dict[str, tuple[int, int]]:
    """Partition and offset of each event of a log, by id; ``seen`` counts them."""
    reader = Reader(log)
    found = {}
    while (runs := reader.read(wait_s=0.0)) is not None:
        for run in runs:
            for offset, envelope in enumerate(run.columns.envelopes(), run.first_offset):
                if not envelope.is_control:
                    found[envelope.id] = run.partition, offset
                    if seen is not None:
                        seen[envelope.id] += 1
    return found


class Judge:
    """Of one drill."""

    def __init__(self, record: Record, book: Book) -> None:
        self._record = record
        self._book = book
        self.folds: dict[str, Fold] = {}

    def table(
        self,
        store: Store,
        name: str,
        *,
        wanted: Wanted,
        table: str,
        lost: Collection[str],
        see: Callable[[Item], Item],
        measures: bool,
    ) -> bool:
        """Whether a table is what the acknowledged events that are ``wanted`` make of it.

        ``lost`` are ids that were named as lost: they have to be missing, and they alone. ``see`` is
        what the replica makes of an item (a transform). ``measures``: its RPO is the drill's.
        """
        entries = [entry for entry in self._book.entries() if wanted(entry)]
        gone = [e for e in entries if e.id in lost and e.told == "acknowledged"]
        expected = histories([e for e in entries if e.id not in lost], self.folds, table)
        for history in expected.values():
            history.states = [None if each is None else see(each) for each in history.states]
        items = read_table(store, table) if table in tables_of(store) else {}
        found = compare(expected, items)
        missing, total = found.missing, len(found.missing) + len(found.present) + len(gone)
        if measures:
            self._record.measure(
                rpo_events=len(missing) + len(gone),
                rpo_age_s=self._age([*missing, *gone], found.present),
                items=len(items),
            )
        named = f", {len(gone):,} of them named as lost" if gone else ""
        ok = self._record.say(
            f"no acknowledged event is missing in {name}{' but those named' if gone else ''}",
            ok=not missing and total > len(gone),
            evidence=f"{total:,} acknowledged{named}, {len(missing):,} missing",
            by="ledger",
            lines=tuple(_told(entry) for entry in missing[:LINES_MAX]),
        )
        keys = found.equal + found.different
        return (
            self._record.say(
                f"{name} holds what the{' other' if gone else ''} acknowledged events make of it",
                ok=not found.different and found.equal > 0,
                evidence=f"{found.equal:,} of {keys:,} items equal to the reference's, "
                f"{found.different:,} differ",
                by="model",
                lines=tuple(found.lines),
            )
            and ok
        )

    def _age(self, missing: list[Entry], present: list[Entry]) -> float | None:
        disaster_s = self._record.disaster_s()
        if not missing:
            return 0.0
        before = [e.at_s for e in present if disaster_s is None or e.at_s <= disaster_s]
        if disaster_s is None or not before:
            return None
        return round(disaster_s - max(before), 3)

    def log(self, log: Log, name: str) -> dict[str, tuple[int, int]]:
        """Whether a log has each acknowledged event once, and no other; place of each by its id."""
        seen: Counter[str] = Counter()
        found = places_of(log, seen)
        entries = {entry.id: entry for entry in self._book.entries()}
        lost = [e for e in entries.values() if e.told == "acknowledged" and not seen[e.id]]
        lies = [e for e in entries.values() if e.told in ("failed", "never") and seen[e.id]]
        twice = [each for each, count in seen.items() if count > 1]
        alien = [each for each in seen if each not in entries]
        acknowledged = sum(entry.told == "acknowledged" for entry in entries.values())
        self._record.measure(events=len(found))
        self._record.say(
            f"{name} has every acknowledged event once, and none that was reported as not sent",
            ok=not (lost or lies or twice or alien) and acknowledged > 0,
            evidence=f"{acknowledged:,} acknowledged, {len(lost):,} lost, {len(twice):,} twice, "
            f"{len(lies):,} reported as not sent and there, {len(alien):,} that nobody published",
            by="ledger",
            lines=tuple([*map(_told, [*lost, *lies]), *twice, *alien][:LINES_MAX]),
        )
        return found

    def stores(self, stores: Mapping[str, Store], table: str) -> bool:
        """Whether the items of several stores are the same."""
        read = {}
        for name, store in stores.items():
            with contextlib.closing(store):
                read[name] = read_table(store, table)
        first, *others = read.values()
        keys = {key for items in read.values() for key in items}
        different = [key for key in keys if any(first.get(key) != o.get(key) for o in others)]
        return self._record.say(
            f"{' and '.join(read)} hold the same items",
            ok=not different and bool(keys),
            evidence=f"{len(keys):,} keys, {len(different):,} differ",
            by="model",
            lines=tuple(sorted(different)[:LINES_MAX]),
        )


def _told(entry: Entry) -> str:
    place = f"number {entry.number} of {entry.session} in partition {entry.partition}"
    return f"{entry.id} ({entry.action.type} {entry.action.key}): {entry.told}, {place}"
