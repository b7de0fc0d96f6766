"""What changed between two moments of a log: as a model has it, with the events that did it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliers.applier import ApplierError, Appliers
from appliers.stores import MemoryStore, SQLiteStore
from appliers.stores.sorted_runs import SortedRuns
from binlog.clock import ManualClock
from binlog.errors import ConflictError, RefusedError
from binlog.target import END, Target
from binlog.values import decode_value
from snapshots.diff import Change, LogDiff, diff_stores
from snapshots.rebuild import Wanted, rebuild
from tests.moments.small_log import Action, Writer, delete, event, folded, new_log, put, update

NAMES = st.sampled_from(["a", "b", "c", "d", "e"])
VALUES = st.sampled_from([0, 1, True, "x", None, [1]])
ACTIONS = st.one_of(
    st.builds(lambda name, n: put(name, n=n), NAMES, VALUES),
    st.builds(lambda name, n: put(name, n=n, m=n), NAMES, VALUES),
    st.builds(delete, NAMES),
    st.builds(lambda name, m: update(name, Set={"m": m}), NAMES, VALUES),
    st.builds(lambda name: update(name, Remove=["m"]), NAMES),
)

shop = Appliers()


@shop.on("Paid", table="users", keys=lambda e: [{"id": e.key["id"]}], version=1)
def paid(item: dict[str, Any] | None, e: Any, key: dict[str, Any]) -> dict[str, Any]:
    if e.data.get("bad"):
        raise ApplierError("no such sum")
    return {**(item or key), "paid": e.data["sum"]}


def told(change: Change) -> tuple[str, str, dict[str, tuple[Any, Any]]]:
    def value(data: bytes | None) -> Any:
        return None if data is None else (type(v := decode_value(data)).__name__, v)

    attributes = {a.name: (value(a.left), value(a.right)) for a in change.attributes}
    return decode_value(change.key)["id"], change.kind, attributes


def expected(before: dict[str, Any], after: dict[str, Any]) -> list[Any]:
    found = []
    for name in sorted({*before, *after}):
        was, now = before.get(name, {}), after.get(name, {})

        def value(item: dict[str, Any], attribute: str) -> Any:
            return (type(item[attribute]).__name__, item[attribute]) if attribute in item else None

        differ = {
            attribute: (value(was, attribute), value(now, attribute))
            for attribute in sorted({*was, *now})
            if value(was, attribute) != value(now, attribute)
        }
        if differ:
            found.append(
                (name, "changed" if was and now else "added" if now else "removed", differ)
            )
    return found


@given(before=st.lists(ACTIONS, max_size=8), between=st.lists(ACTIONS, max_size=8), data=st.data())
def test_between_two_moments_it_tells_what_a_model_does(
    before: list[Action], between: list[Action], data: st.DataObject
) -> None:
    """Each key and attribute, true and 1 apart; each event in between at the item that it touched;
    and the same as two stores that were rebuilt up to there."""
    log = new_log()
    writer = Writer(log)
    writer.append(before)
    first = Target(vector=vector_of(log))
    writer.append(between)
    after = data.draw(st.lists(ACTIONS, max_size=2))
    second = Target(vector=vector_of(log))
    writer.append(after)

    diff = LogDiff(log, first, second, Wanted(), sorting=lambda: SortedRuns(run_bytes=200))
    changes = list(diff)
    changed = [change for change in changes if change.kind != "touched"]
    assert [told(c) for c in changed] == expected(folded(before), folded([*before, *between]))
    assert sorted(e.id for c in changes for e in c.events) == sorted(
        f"e{len(before) + number}" for number in range(1, len(between) + 1)
    )
    assert diff.events == len(between)

    stores = [MemoryStore(), MemoryStore()]
    for store, target in zip(stores, (first, second), strict=True):
        rebuild(log, store, Wanted(target=target))
    rows = [(c.key, c.left, c.right) for c in diff_stores(stores[0], stores[1])]
    assert rows == [(c.key, c.left, c.right) for c in changes]


def vector_of(log: Any) -> dict[int, int]:
    from binlog.reader import Reader

    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader.vector()


def test_moments_of_time_cut_where_the_log_had_come_to() -> None:
    """Who has only a clock's time for the hour of wrong events needs no vector."""
    clock = ManualClock()
    log = new_log(clock)
    writer = Writer(log, clock)
    writer.append([put("a", n=1)])
    noon = log.now_ms()
    clock.advance(60)
    writer.append([put("a", n=2)])
    one = log.now_ms()
    clock.advance(60)
    writer.append([put("a", n=3)])
    [change] = LogDiff(log, Target(time_ms=noon), Target(time_ms=one), Wanted())
    assert told(change)[2] == {"n": (("int", 1), ("int", 2))}
    with pytest.raises(ConflictError, match="the second moment is before the first"):
        list(LogDiff(log, Target(time_ms=one), Target(time_ms=noon), Wanted()))


def test_moments_that_are_no_two_are_refused() -> None:
    """Backwards, or beyond the end: nothing is told of what nobody asked."""
    log = new_log()
    Writer(log).append([put("a", n=1), put("b", n=1)])
    end = vector_of(log)
    with pytest.raises(ConflictError, match="the second moment is before the first"):
        list(LogDiff(log, END, Target(vector={}), Wanted()))
    for first, second in (({0: 99}, {0: 99}), ({}, {**end, 0: 99})):
        with pytest.raises(ConflictError, match="the log ends at"):
            list(LogDiff(log, Target(vector=first), Target(vector=second), Wanted()))


def test_the_users_appliers_exclusions_and_tables_are_obeyed() -> None:
    """The moments are those of the table that is rebuilt so, not of another one."""
    log = new_log()
    writer = Writer(log)
    writer.append([put("a", n=1), put("a", table="orders", n=1)])
    first = Target(vector=vector_of(log))
    writer.append([event("Paid", "a", sum=5), put("b", n=1), put("a", table="orders", n=2)])
    rules = shop.build()
    wanted = Wanted(rules=rules, tables=("users",), excluded=('key=users:{"id":"b"}',))
    [change] = LogDiff(log, first, END, wanted)
    assert told(change) == ("a", "changed", {"paid": (None, ("int", 5))})
    assert [e.type for e in change.events] == ["Paid"]
    idle = Wanted(excluded=("type=Nothing",))
    with pytest.raises(RefusedError, match="matches no event"):
        list(LogDiff(log, first, END, idle))


def test_an_item_that_was_parked_in_between_is_told_so() -> None:
    """Its content is what it was, and yet something happened that a person has to see."""
    log = new_log()
    writer = Writer(log)
    writer.append([put("a", n=1)])
    first = Target(vector=vector_of(log))
    writer.append([event("Paid", "a", bad=True), put("a", n=2)])
    [change] = LogDiff(log, first, END, Wanted(rules=shop.build()))
    assert (change.kind, change.attributes) == ("parked", [])
    assert [e.type for e in change.events] == ["Paid", "PutItem"]


def test_two_stores_may_stand_anywhere_and_be_made_without_other_events(tmp_path: Any) -> None:
    """What an exclusion would change is asked in just that way."""
    log = new_log()
    Writer(log).append([put("a", n=1), put("b", n=1), update("a", Set={"n": 2}), delete("c")])
    left, right = SQLiteStore(tmp_path / "left.db"), MemoryStore()
    rebuild(log, left, Wanted())
    rebuild(log, right, Wanted(excluded=("id=e3", "id=e4")))
    changes = list(diff_stores(left, right))
    assert [told(c) for c in changes if c.kind != "touched"] == [
        ("a", "changed", {"n": (("int", 2), ("int", 1))})
    ]
    assert [told(c)[0] for c in changes] == ["a", "c"]  # a tombstone and nothing are alike
    with pytest.raises(ConflictError, match="neither store has a table nobody"):
        list(diff_stores(left, right, tables=("nobody",)))
    other = MemoryStore()
    with pytest.raises(ConflictError, match="different logs"):
        list(diff_stores(left, other))
    left.close()
