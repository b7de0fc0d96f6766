"""The judge: what it must not believe. Each of these once stood for a drill that lied."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from appliers.stores import SQLiteStore
from binlog.address import open_log
from binlog.drills.action import Action, Item, orders
from binlog.drills.judge import Judge
from binlog.drills.ledger import Book, Entry, Told
from binlog.drills.load import append
from binlog.drills.record import Record
from binlog.drills.reference import compare
from binlog.drills.seen import plain, seen_in_sqlite
from binlog.frame import Session
from binlog.logs import create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from binlog.producer.outcome import Frame
from binlog.producer.resolve import Resolved, Verdict
from consumers.local import Following, replicate

DRILLS = Path(__file__).parents[2] / "binlog" / "drills"
PUT = Action(type="PutItem", key="a", data={"n": 1})
ADD = Action(type="UpdateItem", key="a", data={"Add": {"n": 1}, "Set": {"last": 2}})
DELETE = Action(type="DeleteItem", key="a")


def entry(number: int, action: Action, told: Told = "acknowledged") -> Entry:
    return Entry(id=f"e{number}", action=action, tag="", told=told)


def against(actions: list[Action], table: dict[str, Item]) -> tuple[int, int, int]:
    """Items equal, items different, events missing."""
    entries = [entry(number, action) for number, action in enumerate(actions)]
    found = compare(entries, table.items(), {})
    return found.equal, found.different, found.missing


@pytest.mark.parametrize(
    ("actions", "table", "expected"),
    [
        ([PUT, ADD], {"a": {"id": "a", "n": 2, "last": 2}}, (1, 0, 0)),
        ([PUT, ADD], {"a": {"id": "a", "n": 1}}, (0, 1, 1)),  # the last event is not in it
        ([PUT, ADD], {}, (0, 1, 2)),  # the item is gone, and all its events with it
        ([PUT, ADD], {"a": {"id": "a", "n": 3, "last": 2}}, (0, 1, 2)),  # twice: nobody knows
        ([PUT, DELETE], {}, (1, 0, 0)),
        ([PUT, DELETE], {"a": {"id": "a", "n": 1}}, (0, 1, 1)),  # a delete that was lost
        ([PUT, DELETE, PUT], {}, (0, 1, 3)),  # deleted once before: no excuse
        ([PUT], {"a": {"id": "a", "n": 1}, "b": {"id": "b"}}, (1, 1, 0)),  # nobody made b
    ],
)
def test_an_item_tells_which_events_are_in_it(
    actions: list[Action], table: dict[str, Item], expected: tuple[int, int, int]
) -> None:
    """RPO is counted in events, and an item that was never so counts as none of them."""
    assert against(actions, table) == expected


def test_only_what_was_acknowledged_is_asked_for() -> None:
    """What producers were told had failed must not be there; what was never told is no loss."""
    told = [entry(1, PUT), entry(2, ADD, "failed"), entry(3, DELETE, "unknown")]
    found = compare(told, [("a", {"id": "a", "n": 1})], {})
    assert (found.equal, found.different, found.missing, found.present) == (1, 0, 0, 1)


class World:
    """A log, a ledger of what was put into it, and a store."""

    def __init__(self, folder: Path) -> None:
        create_directory_log(folder / "log", Params(log_id="5d" * 16, partitions=2))
        self.address = f"file:{folder / 'log'}"
        self.record = Record()
        self.book = Book(self.record.now_s)
        self.judge = Judge(self.record, self.book)
        self.store_path = folder / "store.db"
        source = orders(Random(3), "p")
        with closing(open_log(self.address)) as log:
            self.session = append(self.book, log, "p", [next(source) for _ in range(200)])
            with closing(SQLiteStore(self.store_path)) as store:
                replicate(log, store, Following(once=True))

    def table(self, **how: Any) -> bool:
        options = {"wanted": lambda _: True, "table": "orders", "lost": (), "measures": True}
        rows = seen_in_sqlite(self.store_path, "orders")
        return self.judge.table(rows, "live", see=lambda item: item, **{**options, **how})

    def log(self) -> bool:
        with closing(open_log(self.address)) as log:
            self.judge.log(log, "log")
        return self.record.verdicts[-1].ok


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_table_and_a_log_that_are_right_are_found_right(world: World) -> None:
    """Otherwise the failures below would prove nothing."""
    assert world.table()
    assert world.log()
    assert world.record.measured.rpo_events == 0
    assert world.record.measured.events == 200


def test_an_event_that_was_acknowledged_and_is_not_in_the_log_is_a_loss(world: World) -> None:
    """The one thing that must never be overlooked."""
    ghost = Entry(id="ghost", action=PUT, tag="", told="acknowledged")
    world.book._entries.append(ghost)
    assert not world.log()
    assert not world.table()
    assert world.record.measured.rpo_events == 1


def test_an_event_that_was_reported_as_not_sent_and_is_there_is_a_lie(world: World) -> None:
    """The application publishes it again, and it counts twice."""
    world.book._entries[0].told = "failed"
    assert not world.log()


def test_an_event_that_nobody_published_is_found(world: World) -> None:
    """A log that gained an event is as wrong as one that lost one."""
    del world.book._entries[-1]
    assert not world.log()


def test_an_empty_ledger_proves_nothing(tmp_path: Path, world: World) -> None:
    """A drill whose load never ran is green by accident."""
    world.book._entries.clear()
    for table in ("orders", "another"):
        assert not world.judge.table(
            seen_in_sqlite(world.store_path, table),
            "live",
            wanted=lambda _: True,
            table=table,
            lost=(),
            see=lambda item: item,
            measures=True,
        )


def test_events_that_are_named_as_lost_must_be_missing(world: World) -> None:
    """A range that is named too wide hides what else is lost."""
    last = list(world.book.entries())[-1].id
    assert not world.table(lost={last})
    assert world.record.measured.rpo_events is not None
    assert world.record.measured.rpo_events >= 1


def test_what_a_drill_does_not_ask_for_is_counted(world: World) -> None:
    """One that leaves out what it has lost would be right about the rest."""
    assert not world.table(wanted=lambda entry: not entry.id.endswith("7"))
    [said] = [v for v in world.record.verdicts if v.by == "ledger"]
    assert said.evidence.endswith(", 20 others not asked for")


def test_an_event_has_one_outcome(world: World) -> None:
    """A producer that tells two is what the ledger is there to find."""
    counts = world.book.summary()
    assert (counts.acknowledged, counts.failed, counts.unknown) == (200, 0, 0)
    assert len(counts.sha256) == 64


class _Decided:
    """A producer whose unknown frames have been decided; another thread asks as well meanwhile."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._asked = False

    def resolve(self, _frames: object) -> dict[Frame, Resolved]:
        found = {FRAME: Resolved(Verdict.ACKNOWLEDGED, "it is there")}
        if not self._asked:
            self._asked = True
            self._book.resolve(cast(Producer, self))
        return found


FRAME = Frame(Session(bytes(16), 1), 0, 0, 1, 1)


def test_an_unknown_event_that_two_producers_resolve_is_acknowledged_once() -> None:
    """Counted twice, the ledger had more events than any table could ever have."""
    book = Book()
    book._entries.append(
        Entry(id="e", action=PUT, tag="", told="unknown", frame=FRAME, partition=0)
    )
    book.resolve(cast(Producer, _Decided(book)))
    assert book.acknowledged == len(list(book.entries(told="acknowledged"))) == 1


# -- as an application sees it -------------------------------------------------------------------


def test_what_the_projects_own_code_would_read_otherwise_is_seen(world: World) -> None:
    """A writer that is wrong and a reader that is wrong alike: only who reads without it can tell."""
    assert world.table()
    with closing(sqlite3.connect(world.store_path)) as database, database:
        database.execute("UPDATE orders SET item = json_replace(item, '$.by.S', 'nobody')")
    assert not world.table()


def test_nothing_of_the_judge_comes_from_what_is_judged() -> None:
    """Neither the fold, nor how items are kept, nor how they are read."""
    forbidden = re.compile(
        r"^\s*(?:from|import) (?:appliers|snapshots|consumers|binlog\.(?:values|sequencer|fold))",
        re.MULTILINE,
    )
    for name in ("reference", "seen", "slices", "harm", "action"):
        text = (DRILLS / f"{name}.py").read_text()
        assert not forbidden.search(text), name


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        ({"S": "a"}, "a"), ({"N": "1"}, 1), ({"N": "-0"}, 0), ({"N": "1E2"}, 100),
        ({"N": "1.50"}, Decimal("1.5")), ({"BOOL": False}, False), ({"NULL": True}, None),
        ({"N": "99999999999999999999999999999999999999"}, 10**38 - 1),
        ({"B": "AQI="}, b"\1\2"), ({"L": [{"N": "1"}, {"S": "b"}]}, [1, "b"]),
        ({"M": {"a": {"L": []}}}, {"a": []}), ({"SS": ["b", "a"]}, {"a", "b"}),
        ({"NS": ["1", "2.5"]}, {1, Decimal("2.5")}), ({"BS": ["AQ=="]}, {b"\1"}),
    ],
)  # fmt: skip
def test_a_value_is_what_dynamodb_says_that_it_is(value: dict[str, Any], seen: object) -> None:
    """All its kinds, numbers exact."""
    assert plain(value) == seen
    assert type(plain(value)) is type(seen)


@pytest.mark.parametrize("value", [{}, {"S": "a", "N": "1"}, {"X": "a"}])
def test_what_is_no_value_is_not_guessed(value: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no value of DynamoDB"):
        plain(value)
