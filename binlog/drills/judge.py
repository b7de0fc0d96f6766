"""The judge: the ledger and the reference against what is there. Each verdict has its figures."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from itertools import islice

from appliers.store import Store
from binlog.drills.action import Fold, Item
from binlog.drills.ledger import Book, Entry
from binlog.drills.places import Places, places_of
from binlog.drills.record import Record
from binlog.drills.reference import LINES_MAX, Found, compare
from binlog.log import Log

Wanted = Callable[[Entry], bool]


def applied_of(store: Store) -> int:
    """Events in a store, all partitions together; the least of its generations."""
    found = [
        sum(row.applied for row in store.checkpoints(generation.id).values())
        for generation in store.generations()
    ]
    return min(found, default=0)


class Judge:
    """Of one drill."""

    def __init__(self, record: Record, book: Book) -> None:
        self._record = record
        self._book = book
        self.folds: dict[str, Fold] = {}

    def table(
        self,
        rows: Iterable[tuple[str, Item]],
        name: str,
        *,
        wanted: Wanted,
        table: str,
        lost: Collection[str],
        see: Callable[[Item], Item],
        measures: bool,
    ) -> bool:
        """Whether a table, as readers see it, is what the acknowledged events that are ``wanted`` make of it.

        ``lost`` are ids that were named as lost: they have to be missing, and they alone. ``see`` is
        what the replica makes of an item (a transform). ``measures``: its RPO is the drill's.
        """
        gone: list[str] = []
        acknowledged = self._book.acknowledged

        def kept() -> Iterator[Entry]:
            for entry in self._book.entries():
                if wanted(entry):
                    if entry.id not in lost:
                        yield entry
                    elif entry.told == "acknowledged":
                        gone.append(entry.id)

        found = compare(
            kept(),
            rows,
            self.folds,
            name=table,
            values=len(self._book),
            see=see,
            until_s=self._record.disaster_s(),
        )
        missing, total = found.missing, found.missing + found.present + len(gone)
        keys = found.equal + found.different
        if measures:
            self._record.judged = acknowledged
            self._measure(missing + len(gone), found)
        named = f", {len(gone):,} of them named as lost" if gone else ""
        # What the drill did not ask for has to be seen: so has what it would like to hide.
        others = f", {acknowledged - total:,} others not asked for" if acknowledged > total else ""
        ok = self._record.say(
            f"no acknowledged event is missing in {name}{' but those named' if gone else ''}",
            ok=not missing and total > len(gone),
            evidence=f"{total:,} acknowledged{named}, {missing:,} missing{others}",
            by="ledger",
            lines=self._lines(found.missing_ids),
        )
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

    def _measure(self, lost: int, found: Found) -> None:
        """Of several tables that are judged, the worst."""
        before = self._record.measured
        if before.rpo_events is not None and before.rpo_events > lost:
            return
        age_s = self._age(found.newest_s) if lost else 0.0
        self._record.lost = len(self._record.verdicts)
        self._record.measure(rpo_events=lost, rpo_age_s=age_s, items=found.items)

    def _age(self, newest_s: float | None) -> float | None:
        disaster_s = self._record.disaster_s()
        if disaster_s is None or newest_s is None:
            return None
        return round(disaster_s - newest_s, 3)

    def _lines(self, ids: Collection[str]) -> tuple[str, ...]:
        return (
            tuple(_told(entry) for entry in self._book.entries() if entry.id in ids) if ids else ()
        )

    def log(self, log: Log, name: str) -> Places:
        """Whether a log has each acknowledged event once, and no other; place of each by its id."""
        found = places_of(log, self._book.fills)
        lost, lies = _Few(), _Few()
        acknowledged = known = 0
        for entry in self._book.entries():
            is_there = entry.id in found
            known += is_there
            if entry.told == "acknowledged":
                acknowledged += 1
                if not is_there:
                    lost.add(entry)
            elif is_there and entry.told in ("failed", "never"):
                lies.add(entry)
        aliens = len(found) - known
        alien = self._aliens(found) if aliens else []
        self._record.measure(events=len(found))
        self._record.say(
            f"{name} has every acknowledged event once, and none that was reported as not sent",
            ok=not (lost.count or lies.count or found.again or aliens) and acknowledged > 0,
            evidence=f"{acknowledged:,} acknowledged, {lost.count:,} lost, {found.again:,} twice, "
            f"{lies.count:,} reported as not sent and there, {aliens:,} that nobody published",
            by="ledger",
            lines=(*lost.lines, *lies.lines, *found.twice, *alien)[:LINES_MAX],
        )
        return found

    def _aliens(self, found: Places) -> list[str]:
        """Some of the events that nobody published."""
        known = {entry.id for entry in self._book.entries() if entry.id in found}
        return list(islice((each for each in found if each not in known), LINES_MAX))

    def stores(self, read: Mapping[str, Mapping[str, Item]]) -> bool:
        """Whether the items of several stores are the same."""
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


class _Few:
    """How many there are, and the first of them in words."""

    def __init__(self) -> None:
        self.count = 0
        self.lines: list[str] = []

    def add(self, entry: Entry) -> None:
        self.count += 1
        if len(self.lines) < LINES_MAX:
            self.lines.append(_told(entry))


def _told(entry: Entry) -> str:
    place = f"number {entry.number} of {entry.session} in partition {entry.partition}"
    return f"{entry.id} ({entry.action.type} {entry.action.key}): {entry.told}, {place}"
