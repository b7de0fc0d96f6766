"""Putting back what waits: in order, on what was read, and nothing that does not belong there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from appliers.applier import Appliers
from appliers.fingerprint import fingerprint
from appliers.letters import letter_of
from appliers.ownership import by_key
from appliers.stores import MemoryStore
from appliers.summary import summarize
from binlog.changes import event, put_item
from binlog.envelope import Envelope
from binlog.errors import MismatchError, UpgradeError
from binlog.reader import Reader
from binlog.testing.world.store import Crashed, WorldStore
from binlog.values import decode_value, encode_value
from consumers import redrive as module
from consumers.local import replicate
from consumers.redrive import Redrive, Redriven, waiting_in
from snapshots.rebuild import Wanted, rebuild
from tests.following import test_parking_consumers as consumers
from tests.following.test_local_consumer import append, new_log
from tests.following.test_parking_consumers import (
    BROKEN,
    KEY,
    PARK,
    RULES,
    engine,
    order,
    paid,
    run,
)

mood = consumers.mood


def parked(tmp_path: Path, *events: Envelope) -> tuple[Any, MemoryStore]:
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, *events)
    replicate(log, store, PARK)
    return log, store


def put_back(store: Any, **how: Any) -> list[Redriven]:
    return list(Redrive(store, RULES, **{"dry_run": False, **how}).run())


def item(store: Any) -> Any:
    row = dict(store.scan("orders"))[KEY]
    return row.version, row.parked, row.tail, decode_value(row.data)


def test_in_order_up_to_the_first_that_still_does_not_fit(tmp_path: Path) -> None:
    log, store = parked(tmp_path, order(1), *map(paid, (2, 1, 3, 2, 4)))
    [waiting] = waiting_in(store)
    assert (waiting.count, waiting.first.offset, waiting.last_offset) == (5, 2, 6)
    [nothing] = put_back(store)
    assert (nothing.outcome, nothing.left) == ("stays", 5)
    BROKEN.clear()
    BROKEN.add(3)
    [some] = put_back(store)
    assert (some.outcome, some.applied, some.left) == ("partly", 2, 3)
    assert some.stopped is not None
    assert (some.stopped.offset, some.stopped.reason) == (4, "not this one")
    assert item(store) == (3, True, 6, {"id": 1, "total": 1, "paid": [2, 1]})
    assert [(x.offset, x.reason) for x in store.letters()] == [
        (4, "not this one"),
        (5, ""),
        (6, ""),
    ]
    again = MemoryStore()
    rebuild(log, again, Wanted(rules=RULES, poison="park"))
    assert summarize(again) == summarize(store)
    assert list(again.letters()) == list(store.letters())
    BROKEN.clear()
    [rest] = put_back(store)
    assert (rest.outcome, rest.applied) == ("back", 3)
    assert item(store) == (6, False, 0, {"id": 1, "total": 1, "paid": [2, 1, 3, 2, 4]})
    assert list(store.letters()) == []
    assert put_back(store) == []


def test_an_event_that_comes_meanwhile_is_put_back_too(tmp_path: Path) -> None:
    """It moves the tail, so what was folded is folded again."""
    log, store = parked(tmp_path, order(1), paid(2))
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            append(log, paid(7))
            replicate(log, store, PARK)

    BROKEN.clear()
    [done] = put_back(store, between=between)
    assert calls == 2
    assert done.outcome == "back"
    assert item(store) == (3, False, 0, {"id": 1, "total": 1, "paid": [2, 7]})
    assert list(store.letters()) == []


def test_what_waits_in_chunks_comes_back_in_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the last chunk moves nothing: its expectation is not met."""
    monkeypatch.setattr(module, "CHUNK", 2)
    last = put_item("orders", {"id": 1, "total": 9}, key="id", expect=1)
    log, store = parked(tmp_path, order(1), *map(paid, (2, 3, 4, 5)), last)
    BROKEN.clear()
    assert [x.outcome for x in Redrive(store, RULES).run()] == ["back"]
    [done] = put_back(store)
    assert (done.outcome, done.applied, done.rejected) == ("back", 5, 1)
    assert item(store) == (5, False, 0, {"id": 1, "total": 1, "paid": [2, 3, 4, 5]})
    assert [(r.offset, r.found) for r in store.rejections()] == [(6, 5)]
    again = MemoryStore()
    rebuild(log, again, Wanted(rules=RULES))
    assert summarize(again) == summarize(store)


@pytest.mark.parametrize("still", [False, True])
def test_a_chunk_that_moves_nothing_is_done_and_not_met_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, still: bool
) -> None:
    """Its events are refused, all of them: they go, whether what follows can be applied or not."""
    monkeypatch.setattr(module, "CHUNK", 2)
    late = [put_item("orders", {"id": 1, "total": n}, key="id", expect=1) for n in range(5)]
    log, store = parked(tmp_path, order(1), paid(2), *late, paid(3), paid(4))
    BROKEN.clear()
    if still:
        BROKEN.add(3)
    calls = 0

    def between() -> None:
        nonlocal calls
        calls += 1
        assert calls < 10

    [done] = put_back(store, between=between)
    assert (done.applied, done.rejected, done.left) == ((6, 5, 2) if still else (8, 5, 0))
    again = MemoryStore()
    rebuild(log, again, Wanted(rules=RULES, poison="park"))
    assert summarize(again) == summarize(store)
    assert list(again.letters()) == list(store.letters())
    assert list(again.rejections()) == list(store.rejections())


def test_what_a_crash_leaves_of_an_item_that_stays_parked_goes(tmp_path: Path) -> None:
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), *map(paid, (2, 4, 3, 5)))
    run(engine(log, store))
    BROKEN.clear()
    BROKEN.add(3)
    store.crash_after = 2  # the letter's new reason, and the item
    with pytest.raises(Crashed):
        put_back(store)
    assert item(store)[:3] == (3, True, 5)
    [left] = waiting_in(store)
    assert left.count == 4
    [dry] = put_back(store, dry_run=True)
    assert (dry.outcome, dry.applied, dry.left) == ("stays", 0, 2)
    [done] = put_back(store)
    assert (done.outcome, done.applied, done.left) == ("stays", 0, 2)
    assert [(x.offset, x.reason) for x in store.letters()] == [(4, "not this one"), (5, "")]


def test_a_letter_beyond_the_tail_is_left_alone(tmp_path: Path) -> None:
    """It is of a commit that has not come to its end, which finds the item moved on."""
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(2))
    run(engine(log, store))
    append(log, paid(3))
    consumer = engine(log, store)
    store.crash_after = 1  # after the letter
    with pytest.raises(Crashed):
        run(consumer)
    assert [x.offset for x in store.letters()] == [2, 3]
    BROKEN.clear()
    [done] = put_back(store)
    assert (done.outcome, done.applied) == ("back", 1)
    assert item(store)[0] == 2
    assert [x.offset for x in store.letters()] == [3]
    run(engine(log, store))
    assert item(store) == (3, False, 0, {"id": 1, "total": 1, "paid": [2, 3]})
    [tidied] = put_back(store)
    assert (tidied.outcome, tidied.applied) == ("gone", 0)
    assert list(store.letters()) == []


def test_a_crash_before_the_letters_go_leaves_nothing_to_do_twice(tmp_path: Path) -> None:
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    append(log, order(1), paid(2), paid(3))
    run(engine(log, store))
    BROKEN.clear()
    store.crash_after = 1  # the item is written
    with pytest.raises(Crashed):
        put_back(store)
    assert item(store)[:3] == (3, False, 0)
    assert [x.offset for x in store.letters()] == [2, 3]
    assert [x.outcome for x in put_back(store)] == ["gone"]
    assert list(store.letters()) == []
    assert item(store) == (3, False, 0, {"id": 1, "total": 1, "paid": [2, 3]})


def test_what_another_has_put_back_between_row_and_letters_refuses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rejections are noted before the item is written, so not of letters that others are missing from."""
    monkeypatch.setattr(module, "CHUNK", 2)
    log, store = new_log(tmp_path / "log"), WorldStore()
    store.bind(log.genesis)
    expects = put_item("orders", {"id": 1, "total": 9, "paid": []}, key="id", expect=3)
    append(log, order(1), paid(2), paid(3), expects, paid(5))
    run(engine(log, store))
    BROKEN.clear()
    other, letters = store.open(), store.letters
    steps = iter([True])

    def interrupted(*args: Any, **how: Any) -> Any:
        if how.get("item") and next(steps, False):
            stop = [None]
            redrive = Redrive(other, RULES, dry_run=False, between=stop.pop)
            with pytest.raises(IndexError):
                list(redrive.run())
        return letters(*args, **how)

    monkeypatch.setattr(store, "letters", interrupted)
    [done] = put_back(store)
    assert done.outcome == "back"
    assert item(store) == (5, False, 0, {"id": 1, "total": 9, "paid": [5]})
    assert list(store.rejections()) == []


def test_one_table_and_one_key(tmp_path: Path) -> None:
    _, store = parked(tmp_path, order(1), order(2), paid(2), paid(2, 2))
    BROKEN.clear()
    assert put_back(store, tables=["other"]) == []
    [done] = put_back(store, tables=["orders"], key=encode_value({"id": 2}))
    assert done.waiting.key == encode_value({"id": 2})
    assert item(store)[1]


def test_rules_that_send_it_elsewhere_are_not_those_that_it_was_parked_by(tmp_path: Path) -> None:
    """Vouched for or not: the item would lack an event that nobody applied."""
    _, store = parked(tmp_path, order(1), paid(2), paid(3))
    other = Appliers()

    @other.on("Paid", table="orders", key=lambda e: {"id": e.data}, owner=by_key)
    def pay(item: Any, event: Any) -> Any:
        return {"id": event.data}

    with pytest.raises(MismatchError):
        list(Redrive(store, other.build(), dry_run=False, same_meaning=True).run())
    [generation] = store.generations()
    store.describe(generation.id, fingerprint=fingerprint(other.build()), types=())
    [done] = Redrive(store, other.build(), dry_run=False).run()
    assert done.outcome == "stays"
    assert done.stopped is not None
    assert "rebuild the table" in done.stopped.reason
    assert item(store)[:3] == (1, True, 3)


def test_an_event_that_newer_code_has_parked_asks_for_that_code(tmp_path: Path) -> None:
    """Its rules send it where they did; it is this code that does not know what it is."""
    _, store = parked(tmp_path, order(1), paid(2))
    [generation] = store.generations()
    newer = msgspec.structs.replace(order(1), schema=2)
    late = new_log(tmp_path / "other")
    append(late, newer)
    [run_of_it] = [run for runs in iter(Reader(late).read, None) for run in runs]
    [letter] = store.letters()
    there = letter_of(
        msgspec.structs.replace(run_of_it, partition=letter.partition),
        0,
        letter.version,
        table="orders",
        key=KEY,
        reason="too much",
    )
    store.commit(generation.id, [], [], letters=[there])
    with pytest.raises(UpgradeError, match="schema version 2"):
        put_back(store)
    assert item(store)[:3] == (1, True, 2)


def test_what_stands_alone_goes_only_where_nobody_has_to_do_with_it(tmp_path: Path) -> None:
    """Later events of its items were applied: it has no place among them any more."""
    appliers = Appliers()
    how: dict[str, Any] = {"fails": True, "names": [1]}

    def keys(_: Any) -> list[dict[str, Any]]:
        if how["fails"]:
            raise KeyError("whose")
        return [{"id": each} for each in how["names"]]

    @appliers.on("Spread", table="orders", keys=keys)
    def spread(item: Any, event: Any, key: Any) -> Any:
        raise AssertionError("applied out of order")

    rules = appliers.build()
    log, store = new_log(tmp_path / "log"), MemoryStore()
    append(log, event("Spread", {"id": 1}, {}, table="orders"), order(1))
    how_to = msgspec.structs.replace(PARK, rules=rules)
    replicate(log, store, how_to)
    assert [(x.offset, x.alone) for x in store.letters()] == [(1, True)]
    outcomes = []
    for fails, names in ((True, [1]), (False, [1]), (False, [])):
        how.update(fails=fails, names=names)
        outcomes += [each.outcome for each in Redrive(store, rules, dry_run=False).run()]
    assert outcomes == ["stays", "rebuild", "gone"]
    assert list(store.letters()) == []
