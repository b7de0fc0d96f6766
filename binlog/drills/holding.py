"""What must hold after a recovery: the verbs that judge, each of which is a verdict with figures."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Collection, Sequence

from appliers.summary import summarize
from binlog.drills.action import TABLE, Fold, Item
from binlog.drills.judge import Judge, Wanted
from binlog.drills.ledger import Book, Entry
from binlog.drills.places import Places, places_of
from binlog.drills.record import By, Record
from binlog.drills.steps import Steps
from binlog.drills.target import Target
from binlog.json_values import encode_json
from binlog.objects.address import open_objects
from binlog.objects.objects import Objects


class Holding(Steps):
    """The judging half of a `Drill`."""

    def __init__(self, target: Target, record: Record) -> None:
        self.target = target
        self._record = record
        self.book = Book(record.now_s)
        self.judge = Judge(record, self.book)

    def folds(self, event_type: str, fold: Fold) -> None:
        """What an event of the drill's own does, said once more for the reference."""
        self.judge.folds[event_type] = fold

    def holds(
        self,
        name: str = "live",
        *,
        wanted: Wanted = lambda _: True,
        table: str = TABLE,
        lost: Collection[str] = (),
        see: Callable[[Item], Item] = lambda item: item,
        measures: bool = True,
    ) -> bool:
        """A store's table is what acknowledged events make of it, without exactly the ``lost`` ones.

        The RPO is measured here, unless it ``measures`` not.
        """
        rows = self.target.rows(name, table)
        return self.judge.table(
            rows, name, wanted=wanted, table=table, lost=lost, see=see, measures=measures
        )

    def log_holds(self, name: str = "log") -> Places:
        """A log has every acknowledged event once; partition and offset of each, by id."""
        with contextlib.closing(self.target.open_log(name)) as log:
            return self.judge.log(log, name)

    def places(self, name: str = "log") -> Places:
        """Partition and offset of each event that a log has, by id."""
        with contextlib.closing(self.target.open_log(name)) as log:
            return places_of(log, self.book.fills)

    def ends(self, name: str = "log") -> str:
        """Where a log ends now, as ``--until`` takes it."""
        found: dict[str, int] = {}
        for partition, offset in self.places(name).values():
            found[str(partition)] = max(offset, found.get(str(partition), 0))
        return json.dumps(found)

    def same(self, *names: str, table: str = TABLE) -> bool:
        """Stores hold the same items."""
        return self.judge.stores({name: self.target.items(name, table) for name in names})

    def expect(
        self, claim: str, ok: object, evidence: str, *, by: By = "drill", lines: Sequence[str] = ()
    ) -> bool:
        """Anything else that has to hold, with its figures."""
        return self._record.say(claim, ok=bool(ok), evidence=evidence, by=by, lines=tuple(lines))

    def items(self, name: str = "live", table: str = TABLE) -> dict[str, Item]:
        """Of a table, by id."""
        return self.target.items(name, table)

    def vector(self, name: str = "live") -> str:
        """How far a store is, as ``--until`` takes it."""
        with contextlib.closing(self.target.open_store(name)) as store:
            return encode_json(summarize(store).vector).decode()

    def objects(self, name: str) -> Objects:
        """What stands at an address of objects, for who damages it by hand; the caller closes it."""
        url = self.target.addresses[name]
        if url.startswith("file:"):  # relative to where commands run
            url = f"file:{self.target.folder / url.removeprefix('file:')}"
        return open_objects(url)

    def tagged(self, tag: str) -> list[Entry]:
        """Entries of the ledger."""
        return list(self.book.entries(tag=tag))
