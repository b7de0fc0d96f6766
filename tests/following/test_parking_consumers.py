"""A consumer that parks: in which order it writes, and what it does of what others wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliers.applier import ApplierError, Appliers
from appliers.fingerprint import fingerprint
from appliers.item import Row
from appliers.store import Store
from appliers.stores import MemoryStore, SQLiteStore
from appliers.summary import summarize
from binlog.changes import event, put_item
from binlog.envelope import Envelope
from binlog.errors import PoisonError, UpgradeError
from binlog.reader import PAGE_BYTES
from binlog.testing.world.store import Diverted, Moved, WorldStore, Wrote
from binlog.values import encode_value
from consumers.engine import Engine
from consumers.local import Following, replicate
from consumers.redrive import Redrive
from snapshots.rebuild import Wanted, rebuild
from tests.contracts.dynamodb_places import on_double
from tests.following.test_local_consumer import append, new_log

BROKEN: set[int] = set()
APPLIERS = Appliers()
KEY = encode_value({"id": 1})


@APPLIERS.on("Paid", table="orders")
def pay(item: Any, paid: Any) -> Any:
    if paid.data in BROKEN:
        raise ApplierError("not this one")
    if paid.data == 99:
        raise TimeoutError("a service that an applier should not ask")
    return {**(item or paid.key), "paid": [*(item or {}).get("paid", ()), paid.data]}


RULES = APPLIERS.build()
PARK = Following(once=True, rules=RULES, poison="park")


@pytest.fixture(autouse=True)
def mood() -> None:
    BROKEN.clear()
    BROKEN.add(2)


def paid(number: int, order: int = 1) -> Envelope:
    return event("Paid", {"id": order}, number, table="orders")


def order(number: int) -> Envelope:
    return put_item("orders", {"id": number, "total": 1}, key="id")


def engine(log: Any, store: WorldStore) -> Engine:
    live = store.generations() or [
        store.create(tables=None, fingerprint=fingerprint(RULES), excluded=())
    ]
    return Engine(log, store, live[0], RULES, poison="park", tell_halts=False)


def run(one: Engine) -> None:
    while one.step() is not None:
        pass


def test_a_letter_is_durable_before_the_mark_and_the_mark_before_the_checkpoint(
    tmp_path: Path,
) -> None:
    """A crash in between must leave nothing that is marked and cannot be found."""
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(1), paid(2), paid(3))
    run(engine(log, store))
    kinds = [type(entry) for entry in store.journal]
    assert kinds.index(Diverted) < kinds.index(Wrote) < kinds.index(Moved)
    [row] = [entry.row for entry in store.journal if isinstance(entry, Wrote)]
    assert (row.parked, row.version, row.tail) == (True, 2, 4)
    assert [x.offset for x in store.letters()] == [3, 4]


def test_whoever_parks_says_so_and_not_of_those_that_wait(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(2), paid(3), *[paid(2, n) for n in range(50, 65)])
    run(engine(log, store))
    told = [each.getMessage() for each in caplog.records if "parked" in each.getMessage()]
    of_the_first = [each for each in told if "offset=2 " in each]
    assert any("event.parked" in each and "not this one" in each for each in of_the_first), told
    assert 10 <= len(told) < 15, "a page that is poison as a whole is no flood"
    assert "events.parked" in told[-1]


def test_a_letter_that_another_consumer_marked_its_item_by_stays(tmp_path: Path) -> None:
    """The zombie loses the race for the item: the letter that it wrote first is the other's too."""
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(2), paid(3))
    zombie, other = engine(log, store), engine(log, store)
    store.between = lambda: run(other)
    run(zombie)
    assert store.failed
    assert [x.offset for x in store.letters()] == [2, 3]
    assert dict(store.scan("orders"))[KEY].tail == 3


def test_a_letter_of_an_item_that_was_put_back_meanwhile_goes(tmp_path: Path) -> None:
    """It was written before the mark failed; the event itself is in the item by then."""
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(2))
    run(engine(log, store))
    append(log, paid(3))

    def put_back() -> None:
        BROKEN.clear()
        [letter] = [x for x in store.letters() if x.offset == 2]
        row = dict(store.scan("orders"))[KEY]
        back = encode_value({"id": 1, "total": 1, "paid": [2]})
        store._content.tables["orders"][KEY] = Row(2, row.partition, back)
        store._divert(store.generations()[0].id, (), [letter.place])

    consumer = engine(log, store)
    store.between = put_back
    run(consumer)
    row = dict(store.scan("orders"))[KEY]
    assert (row.version, row.parked) == (3, False)
    assert list(store.letters()) == []


def store_of(kind: str, directory: Path) -> Store:
    if kind == "sqlite":
        return SQLiteStore(directory / "a.db")
    return MemoryStore() if kind == "memory" else on_double()()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "dynamodb"])
def test_everything_else_flows_on_and_a_rebuild_that_parks_is_the_same(
    tmp_path: Path, kind: str
) -> None:
    log, store = new_log(tmp_path / "log"), store_of(kind, tmp_path)
    append(log, order(1), order(2), paid(2), paid(5, 2), paid(2, 2), order(2), order(3))
    report = replicate(log, store, PARK)
    assert report.counts.parked == 3
    assert report.counts.events == 7
    again = MemoryStore()
    report = rebuild(log, again, Wanted(rules=RULES, poison="park"))
    assert report.counts.parked == 3
    assert summarize(again) == summarize(store)
    assert summarize(store).tables["orders"].parked == 2
    assert list(again.letters()) == list(store.letters())
    BROKEN.clear()
    assert {each.outcome for each in Redrive(store, RULES, dry_run=False).run()} == {"back"}
    rebuild(log, again, Wanted(rules=RULES))
    assert summarize(again) == summarize(store)
    assert list(store.letters()) == []
    store.close()


def test_what_stops_at_poison_goes_on_behind_what_is_parked(tmp_path: Path) -> None:
    """The decision was taken when it was parked; only a new one stops."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), paid(2))
    replicate(log, store, PARK)
    append(log, paid(7), order(1), order(4))
    stop = Following(once=True, rules=RULES)
    assert replicate(log, store, stop).counts.parked == 2
    assert [x.offset for x in store.letters()] == [2, 3, 4]
    append(log, paid(2, 4))
    with pytest.raises(PoisonError, match="not this one"):
        replicate(log, store, stop)


def test_what_may_pass_stops_it_though_it_parks(tmp_path: Path) -> None:
    """And what lies before it is applied; the next try may do."""
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, order(1), paid(1), paid(99))
    with pytest.raises(PoisonError, match="TimeoutError"):
        replicate(log, store, PARK)
    assert list(store.letters()) == []
    assert dict(store.scan("orders"))[KEY].version == 2


@pytest.mark.parametrize("page_bytes", [1, PAGE_BYTES])
@pytest.mark.parametrize("kind", ["memory", "sqlite", "dynamodb"])
def test_what_stops_at_a_newer_schema_leaves_a_store_that_can_be_read(
    tmp_path: Path, kind: str, page_bytes: int
) -> None:
    """Whoever is called then compares it: its items are to be those of its checkpoint, all of them."""
    log, store = new_log(tmp_path / "log"), store_of(kind, tmp_path)
    append(log, order(1), order(2), order(3), event("Paid", {"id": 4}, 1, schema=2, table="orders"))
    with pytest.raises(UpgradeError, match="schema version 2"):
        replicate(log, store, Following(once=True, rules=RULES, page_bytes=page_bytes))
    found = summarize(store)
    assert (found.tables["orders"].items, sum(found.vector.values())) == (3, 3)
