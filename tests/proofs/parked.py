"""What is parked: a log whose events park items, and what a store of it has to hold by the specification.

`Mood` has the rules, which fail or are mended, both of one source; `Parked` the log and the judges.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from appliers.applier import ApplierError, Appliers, Rules
from appliers.item import Row
from appliers.store import Reader as Rows
from binlog.envelope import Envelope, Event
from binlog.reader import Reader
from binlog.testing.world.item_events import item_event, poison_event
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.tables import Tables
from binlog.values import encode_value
from tests.proofs.hostile import HostileProducers

Seed = tuple[int, int, int]
Numbered = tuple[int, int, Envelope, int, object, int]


class Mood:
    """Whether the applier is the one that fails; both have one source, and so one fingerprint.

    ``uniform``: all items of a table have the same key attributes, as some stores ask for.
    """

    def __init__(self, *, uniform: bool = False) -> None:
        self.broken = True
        self.whole = {"side": 2} if uniform else {}
        self.rules = self._rules()

    def _rules(self) -> Rules:
        appliers = Appliers()

        def sides(event: Event) -> list[dict[str, Any]]:
            if event.data == 6:
                raise ValueError("nobody knows whose")
            name = {"id": event.key["id"]}
            return [name | self.whole, name | {"side": event.data % 2}]

        def of_whom(key: dict[str, Any]) -> tuple[str, dict[str, Any]]:
            return "", {"id": key["id"]}

        @appliers.on("Tallied", table="tally", keys=sides, owner=of_whom)
        def tally(item: Any, event: Event, key: dict[str, Any]) -> dict[str, Any] | None:
            if self.broken and event.data in (1, 4) and key.get("side", 2) < 2:
                raise ApplierError("a number that is not liked")
            if event.data == 5:
                return None
            return {
                **key,
                "total": (item or {"total": 0})["total"] + event.data,
                "at": event.number,
            }

        return appliers.build()


def event_of(a: int, b: int, c: int) -> Envelope:
    """Items' events, some that fit nothing, and the user's own."""
    if a % 3 == 0:
        expect = c % 9 if b % 4 == 0 else None
        key = encode_value({"id": "aeh"[b % 3]})
        return Envelope(f"t{c}", "Tallied", 1, "", key, encode_value(c % 7), None, expect)
    if a % 11 == 0:
        return poison_event(b, c)
    return item_event(a, b, c)


class Parked:
    """A log of all that is ever published of ``commits``, and what stores of it have to hold."""

    def __init__(self, commits: Sequence[Sequence[Seed]], *, uniform: bool = False) -> None:
        self.mood = Mood(uniform=uniform)
        self.producers = HostileProducers(kinesis=True, make_event=item_event)
        self.log = self.producers.log
        for seeds in commits:
            self.producers.publish(0, [event_of(*seed) for seed in seeds])
            for _ in range(8):
                self.producers.tick(5)
                self.producers.work(0, (0, 0), reply_at_once=True)
        self.producers.settle()
        self._events: list[Numbered] = []

    def events(self) -> list[Numbered]:
        """As a reader of its own numbers them."""
        if self._events:
            return self._events
        found = self._events
        reader = Reader(self.log)
        while (runs := reader.read()) is not None:
            for run in runs:
                for i, event in enumerate(run.columns.envelopes()):
                    more = (run.arrival_ms, run.session, run.numbers[i])
                    found.append((run.partition, run.first_offset + i, event, *more))
        return found

    def tables(self, *, broken: bool, parks: bool = True) -> Tables:
        self.mood.broken = broken
        tables = Tables(self.mood.rules, PARAMS.partitions, parks=parks)
        for each in sorted(self.events(), key=lambda each: each[:2]):
            tables.apply(*each)
        self.mood.broken = True
        return tables

    def check_nothing_is_lost(self, store: Rows) -> None:
        """Every event up to the checkpoint is in its item, noted as refused, or a letter in order."""
        [generation] = store.generations()
        applied = {p: c.applied for p, c in store.checkpoints(generation.id).items()}
        letters: dict[tuple[str, bytes], list[int]] = {}
        alone = set()
        for letter in store.letters():
            if letter.alone:
                alone.add((letter.partition, letter.offset))
            else:
                letters.setdefault((letter.table, letter.key), []).append(letter.offset)
        refused = {(r.table, r.key, r.offset) for r in store.rejections()}
        rows = {(t, k): row for t in generation.tables for k, row in store.scan(t)}
        for partition, offset, event, *_ in self.events():
            if offset > applied.get(partition, 0):
                continue
            for table, key in self.items_of(event):
                row = rows.get((table, key), Row(0, partition, None))
                if key == b"":
                    assert (partition, offset) in alone
                elif offset > row.version and (table, key, offset) not in refused:
                    assert row.parked, "an event is in no item, and its item is not parked"
                    assert offset <= row.tail
                    assert offset in letters[table, key], "an event is nowhere"

    def items_of(self, event: Envelope) -> list[tuple[str, bytes]]:
        if event.type != "Tallied":
            return [(event.table, event.key)]
        if event.data == encode_value(6):
            return [("tally", b"")]
        assert event.data is not None
        name = {97: "a", 101: "e", 104: "h"}[event.key[-1]]
        side = event.data[0] % 2
        keys = ({"id": name} | self.mood.whole, {"id": name, "side": side})
        return [("tally", encode_value(key)) for key in keys]

    def check_equals(self, store: Rows, tables: Tables) -> None:
        for table in tables.names():
            rows = {
                k: (r.version, r.partition, r.data, r.parked, r.tail) for k, r in store.scan(table)
            }
            assert rows == tables.marked_rows(table), table
        found = [
            (x.table, x.key, x.partition, x.offset, bool(x.reason))
            for x in store.letters()
            if not x.alone
        ]
        wanted = [
            (table, key, partition, offset, offset == waiting[0][1])
            for (table, key), waiting in tables.waiting.items()
            for partition, offset in waiting
        ]
        assert sorted(found) == sorted(wanted)
        assert sorted((x.table, x.partition, x.offset) for x in store.letters() if x.alone) == (
            sorted(tables.alone)
        )
        refused = {(r.partition, r.offset, r.table, r.key) for r in tables.refused}
        assert {(r.partition, r.offset, r.table, r.key) for r in store.rejections()} == refused
