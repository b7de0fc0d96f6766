"""An event that never can be applied is left out: as if the table had been rebuilt without it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from appliers.applier import ApplierError, Appliers
from appliers.stores import MemoryStore, SQLiteStore
from appliers.summary import summarize
from binlog.changes import event, put_item
from binlog.envelope import Envelope
from binlog.errors import ConflictError
from binlog.logs import DirectoryLog
from consumers.leaving_out import LeftOut, check_left_out
from consumers.local import Following, replicate
from consumers.redrive import Redrive, Redriven, waiting_in
from snapshots.counterpart import verify_against_log
from snapshots.rebuild import Wanted, rebuild
from tests.following.test_local_consumer import append, new_log

APPLIERS = Appliers()


@APPLIERS.on(
    "Paid", table="orders", keys=lambda e: [{"id": key} for key in e.data["of"]], version=1
)
def pay(item: Any, paid: Any, key: Any) -> Any:
    if item is None:
        raise ApplierError("no such order")
    return {**item, "paid": [*item.get("paid", ()), paid.data["sum"]]}


RULES = APPLIERS.build()
PARK = Following(once=True, rules=RULES, poison="park")


def paid(event_id: str, *orders: str) -> Envelope:
    """Of the first of them; all are of one partition."""
    data = {"of": list(orders), "sum": 5}
    return event("Paid", {"id": orders[0]}, data, table="orders", event_id=event_id)


def order(name: str) -> Envelope:
    return put_item("orders", {"id": name}, key="id")


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    made: Any = MemoryStore()
    if request.param == "sqlite":
        made = SQLiteStore(tmp_path / "store.db")
    yield made
    made.close()


@pytest.fixture
def log(tmp_path: Path) -> DirectoryLog:
    return new_log(tmp_path / "log")


def put_back(store: Any, *without: str, **how: Any) -> list[Redriven]:
    return list(Redrive(store, RULES, **{"dry_run": False, "without": without, **how}).run())


def as_rebuilt(log: Any, store: Any) -> None:
    """That the store is what its log makes of its own exclusions, and what a rebuild says it is."""
    [generation] = store.generations()
    again = MemoryStore()
    rebuild(log, again, Wanted(rules=RULES, excluded=generation.excluded, poison="park"))
    assert summarize(again) == summarize(store)
    with verify_against_log(store, log, rules=RULES) as verification:
        assert [d for t in verification.tables for d in verification.differences(t)] == []


def test_what_waits_behind_it_is_put_back_and_a_rebuild_makes_the_same(
    log: DirectoryLog, store: Any
) -> None:
    """The rule is recorded with the table, by offset: the id may be another event's one day."""
    append(log, paid("bad", "a"), order("a"), paid("good", "a"))
    replicate(log, store, PARK)
    [waiting] = waiting_in(store)
    where = (waiting.partition, waiting.first.offset)

    dry = Redrive(store, RULES, without=["bad"])
    assert [each.outcome for each in dry.run()] == ["back"]
    assert store.generations()[0].excluded == ()
    assert [each.count for each in waiting_in(store)] == [3]

    assert [each.outcome for each in put_back(store, "bad")] == ["back"]
    rule = "offsets={}:{}-{}".format(*where, where[1])
    assert store.generations()[0].excluded == (rule,)
    assert list(store.letters()) == []
    as_rebuilt(log, store)
    append(log, paid("more", "a"))
    replicate(log, store, PARK)
    as_rebuilt(log, store)
    assert store.generations()[0].excluded == (rule,)


def test_the_last_event_of_an_item_leaves_it_as_it_was(log: DirectoryLog, store: Any) -> None:
    """An excluded event moves no version, so none is moved here."""
    append(log, order("a"), put_item("orders", {"id": "a", "n": 1}, key="id"))
    bad = Appliers()
    bad.on("Never", table="orders", version=1)(_never)
    rules = bad.build()
    append(log, event("Never", {"id": "a"}, {}, table="orders", event_id="bad"))
    replicate(log, store, Following(once=True, rules=rules, poison="park"))
    [done] = Redrive(store, rules, without=["bad"], dry_run=False).run()
    assert (done.outcome, done.left) == ("back", 0)
    [(_, row)] = store.scan("orders")
    assert (row.version, row.parked) == (2, False)


def _never(item: Any, e: Any) -> Any:
    raise ApplierError("never")


def test_a_redrive_that_was_killed_after_the_rule_is_gone_on_with_by_any(
    log: DirectoryLog, store: Any
) -> None:
    """The rule is durable first, and whoever comes next passes over what it names."""
    append(log, paid("bad", "a"), order("a"))
    replicate(log, store, PARK)
    [generation] = store.generations()
    [waiting] = waiting_in(store)
    rule = LeftOut("bad", waiting.partition, waiting.first.offset).rule
    store.describe(generation.id, fingerprint=generation.fingerprint, types=(), excluded=[rule])
    assert [each.outcome for each in put_back(store)] == ["back"]
    as_rebuilt(log, store)


# -- refused ---------------------------------------------------------------------------------------


def two_of_one_partition(log: DirectoryLog) -> tuple[str, str]:
    """Keys of two orders whose events are in one partition, so that one event may touch both."""
    from binlog.fields import encode_key
    from binlog.partition import ordering_key, partition_of

    home: dict[int, str] = {}
    for name in map(str, range(100)):
        key = ordering_key("orders", encode_key({"id": name}, None))
        other = home.setdefault(partition_of(key, log.params.partitions), name)
        if other != name:
            return other, name
    raise AssertionError("there are more names than partitions")


def test_an_event_that_another_item_took_stays(log: DirectoryLog, store: Any) -> None:
    """Only a rebuild takes it out of that one."""
    has, lacks = two_of_one_partition(log)
    append(log, order(has), paid("half", has, lacks), order(lacks))
    replicate(log, store, PARK)
    before = summarize(store)
    with pytest.raises(ConflictError, match="took it") as caught:
        put_back(store, "half")
    assert "rebuild the table with --exclude offsets=" in str(caught.value)
    assert summarize(store) == before
    assert store.generations()[0].excluded == ()


def test_an_event_that_waits_at_both_of_its_items_is_left_out_of_both(
    log: DirectoryLog, store: Any
) -> None:
    """None of them has taken it."""
    one, two = two_of_one_partition(log)
    append(log, paid("both", one, two), order(one), order(two))
    replicate(log, store, PARK)
    assert [each.outcome for each in put_back(store, "both")] == ["back", "back"]
    as_rebuilt(log, store)


def test_an_item_that_nothing_else_made_is_a_rebuilds(log: DirectoryLog, store: Any) -> None:
    """There would be an item of version 0, which no log gives."""
    append(log, paid("bad", "a"))
    replicate(log, store, PARK)
    with pytest.raises(ConflictError, match="nothing else made the item"):
        put_back(store, "bad")
    assert store.generations()[0].excluded == ()


def test_an_event_that_does_not_wait_or_has_no_name_of_its_own_is_refused(
    log: DirectoryLog, store: Any
) -> None:
    """A slip must not leave out what was applied."""
    append(log, order("b"), paid("twice", "a"), paid("twice", "c"), order("a"))
    replicate(log, store, PARK)
    with pytest.raises(ConflictError, match="no event 'nobody' waits"):
        put_back(store, "nobody")
    with pytest.raises(ConflictError, match="several events have the id 'twice'"):
        put_back(store, "twice")


def test_a_checkpoint_that_is_not_beyond_it_is_waited_for(log: DirectoryLog) -> None:
    """Whoever is at work there would meet the event again, and park the item once more."""
    store = MemoryStore()
    append(log, paid("bad", "a"), order("a"))
    replicate(log, store, PARK)
    [generation] = store.generations()
    [waiting] = waiting_in(store)
    events = [LeftOut("bad", waiting.partition, waiting.first.offset)]
    with pytest.raises(ConflictError, match="is not beyond it yet"):
        check_left_out(store, generation, None, events, {})  # type: ignore[arg-type]


def test_a_consumer_that_names_some_of_the_stores_exclusions_goes_on(log: DirectoryLog) -> None:
    """What it was told to leave out is left out; others joined since, and its settings did not."""
    store = MemoryStore()
    following = Following(once=True, rules=RULES, poison="park", excluded=("id=nobody",))
    append(log, paid("bad", "a"), order("a"))
    replicate(log, store, following)
    put_back(store, "bad")
    replicate(log, store, following)
    more = Following(once=True, rules=RULES, poison="park", excluded=("id=nobody", "id=x"))
    with pytest.raises(ConflictError, match="made with the exclusions"):
        replicate(log, store, more)
