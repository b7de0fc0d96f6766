"""Events by the million: in the ledger as any other, and judged as any other, without an object each."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from random import Random

import pytest

from appliers.stores import SQLiteStore
from binlog.address import open_log
from binlog.drills import Action, Drill, drill, slices, twin
from binlog.drills.action import Source, orders
from binlog.drills.filled import Scale
from binlog.drills.filling import Fill
from binlog.drills.judge import Judge
from binlog.drills.ledger import TOLD, Book
from binlog.drills.places import places_of
from binlog.drills.record import Record
from binlog.drills.runner import run_drill
from binlog.drills.seen import seen_in_sqlite
from binlog.drills.slices import Slices
from binlog.logs import create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.local import Following, replicate

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

EVENTS = 3_000


class Filled:
    """A log that was filled, a ledger that knows it, and a store."""

    def __init__(self, folder: Path, source: Source = orders) -> None:
        create_directory_log(folder / "log", Params(log_id="5d" * 16, partitions=4))
        self.log = f"file:{folder / 'log'}"
        self.store = folder / "store.db"
        self.record = Record()
        self.book = Book(self.record.now_s)
        self.judge = Judge(self.record, self.book)
        self.fill = Fill("f", source, EVENTS, 300)
        with closing(open_log(self.log)) as log, closing(SQLiteStore(self.store)) as store:
            with Producer(log) as producer:
                self.book.fill(producer, self.fill)
            replicate(log, store, Following(once=True))

    def judged(self) -> bool:
        with closing(open_log(self.log)) as log:
            self.judge.log(log, "log")
            said = self.record.verdicts[-1].ok
            return (
                self.judge.table(
                    seen_in_sqlite(self.store, "orders"),
                    "live",
                    wanted=lambda _: True,
                    table="orders",
                    lost=(),
                    see=lambda item: item,
                    measures=True,
                )
                and said
            )


@pytest.fixture(params=[False, True], ids=["in memory", "by slices"])
def filled(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Filled:
    """By slices of a few keys each, as a table is that does not fit into memory."""
    if request.param:
        monkeypatch.setattr(slices, "VALUES", 100)
    return Filled(tmp_path)


def test_what_was_filled_in_is_judged_as_any_other_event(filled: Filled) -> None:
    """All of it is acknowledged, in the log, and in the table."""
    assert filled.judged()
    counts = filled.book.summary()
    assert (counts.acknowledged, counts.failed, counts.unknown) == (EVENTS, 0, 0)
    assert filled.record.measured.rpo_events == 0
    assert filled.record.measured.events == EVENTS
    assert filled.record.measured.items > 200
    assert len(list(filled.book.times())) == EVENTS


def test_an_item_of_many_that_is_gone_is_missed_with_all_its_events(filled: Filled) -> None:
    """One of thousands, wherever its slice is; and it is said which events those are."""
    with closing(sqlite3.connect(filled.store)) as database, database:
        keys = [key for (key,) in database.execute("SELECT key FROM orders WHERE tombstone = 0")]
        database.execute("DELETE FROM orders WHERE key = ?", (keys[len(keys) // 2],))
    assert not filled.judged()
    entries = list(filled.book.entries())
    missing = filled.record.measured.rpo_events
    assert missing is not None
    lost, same = filled.record.verdicts[-2:]
    key = same.lines[0].partition(":")[0]
    assert missing == sum(entry.action.key == key for entry in entries)
    assert len(lost.lines) == min(missing, 8)
    assert all(key in line for line in lost.lines)


def test_an_acknowledged_event_of_many_that_the_log_lacks_is_a_loss(filled: Filled) -> None:
    """The ledger says it was acknowledged, and the log has no such event."""
    filled.fill.events += 1
    index = filled.fill.grow(1)
    filled.fill.tell(index, TOLD.index("acknowledged"), 1.0, partition=0, session="s.1", number=7)
    assert not filled.judged()
    assert "1 lost" in filled.record.verdicts[0].evidence


def test_an_event_of_many_that_nobody_published_is_found(filled: Filled) -> None:
    """Its id looks as if it were one more of those that were filled in."""
    with closing(open_log(filled.log)) as log, Producer(log) as producer:
        producer.append(Action(type="PutItem", key="x", data={}).envelope(f"f.{EVENTS}"))
        producer.append(Action(type="PutItem", key="x", data={}).envelope("f.007"))
        producer.append(Action(type="PutItem", key="x", data={}).envelope("f.7"))
    assert not filled.judged()
    assert "1 twice" in filled.record.verdicts[0].evidence
    assert "2 that nobody published" in filled.record.verdicts[0].evidence


def test_places_of_many_are_those_of_the_log(filled: Filled) -> None:
    """Whoever asks for one by its id is told, and the others are there, too."""
    with closing(open_log(filled.log)) as log:
        compact, plain = places_of(log, [filled.fill]), places_of(log)
    assert dict(compact) == dict(plain)
    assert len(compact) == EVENTS
    with pytest.raises(KeyError):
        compact[f"f.{EVENTS}"]


def test_an_event_has_one_outcome() -> None:
    """A producer that tells two is what the ledger is there to find."""
    fill = Fill("f", orders, 1, 1)
    fill.grow(1)
    fill.tell(0, 1, 1.0, partition=0, session="s.1", number=1)
    with pytest.raises(ValueError, match=r"two outcomes of f\.0"):
        fill.tell(0, 2, 1.0, partition=0, session="s.1", number=1)


def few_keys(random: Random, name: str) -> Iterator[Action]:
    """A source that cannot be told how many."""
    while True:
        yield Action(type="PutItem", key=f"{name}-{random.randrange(4)}", data={"n": 1})


@pytest.mark.parametrize("source", [orders, few_keys])
def test_the_actions_of_a_fill_are_the_same_each_time_and_of_many_keys(source: Source) -> None:
    """They are made once more by whoever judges; and a long log of a few keys is no large table."""
    fill = Fill("f", source, 2_000, 400)
    first = list(fill.actions())
    assert first == list(fill.actions())
    assert len(first) == 2_000
    assert len({action.key for action in first}) > 30


def test_values_of_a_key_come_back_in_order_from_one_slice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another order would be another item; and a slice that lacked one would find it changed."""
    monkeypatch.setattr(slices, "VALUES", 1_000)
    values = [(f"k{number % 37}", number) for number in range(10_000)]
    with Slices[tuple[str, int]](len(values)) as found:
        for key, number in values:
            found.put(key, (key, number))
        assert found.count == 11
        read = [list(found.slice(number)) for number in range(found.count)]
        assert read[3] == list(found.slice(3))
    for one in read:
        for key in {key for key, _ in one}:
            assert [v for v in one if v[0] == key] == [v for v in values if v[0] == key]
    assert sorted(islice((v for one in read for v in one), 10_001)) == sorted(values)


DROP = "binlog rebuild {log} {live}"


@drill("small", title="A table is dropped", looks="-", take_back="-")
@twin("nothing is done", {DROP: None})
def small(d: Drill) -> None:
    """A table is dropped."""
    d.init()
    d.load(1_000.0)
    consumer = d.replicate("live")
    d.flow(50)
    d.caught_up("live")
    with d.disaster("DROP TABLE orders", changes="live"):
        consumer.kill()
        d.target.drop_table("live", "orders")
    with d.phase("restore"):
        d.run(DROP)
    with d.phase("switch"):
        d.replicate("live")
        d.caught_up("live")
    d.flow(10)
    d.settle("live")
    d.log_holds()
    d.holds("live")


def test_any_drill_can_begin_with_a_long_log() -> None:
    """`--events` and `--keys`: they are in the log, in the ledger, in the table, and in the repeat line."""
    result = run_drill(small, scale=Scale(events=5_000, keys=900))
    assert result.passed, result.failure
    assert result.ledger.acknowledged == result.measured.events > 5_000
    assert result.measured.items > 500
    assert result.repeat.endswith("--events 5000 --keys 900")
    assert any("5,000 events of some 900 keys" in mark.text for mark in result.marks)


def test_the_twin_of_a_long_drill_is_caught() -> None:
    """What is missing then is all that was filled in, and it is counted."""
    result = run_drill(small, twin=small.twins[0], scale=Scale(events=2_000))
    assert result.caught
    assert result.measured.rpo_events is None or result.measured.rpo_events >= 2_000


@drill("without-load", title="Nothing goes on", looks="-", take_back="-", goes_on=False)
@twin("nothing is done", {DROP: None})
def without_load(d: Drill) -> None:
    """One event, and no load."""
    d.init()
    d.append([Action(type="PutItem", key="a", data={"n": 1})])
    d.run(DROP)
    with d.disaster("DROP TABLE orders", changes="live"):
        d.target.drop_table("live", "orders")
    with d.phase("restore"):
        d.run(DROP)
    d.log_holds()
    d.holds("live")


def test_a_drill_that_could_not_be_made_longer_does_not_pass_as_a_long_one() -> None:
    """Who reads that a million events were recovered has to be able to believe it."""
    result = run_drill(without_load, scale=Scale(events=1_000))
    assert not result.passed
    assert "--events" in (result.failure or "")
