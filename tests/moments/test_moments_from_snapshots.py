"""Diff and blame that begin at a snapshot say what those that begin at the log's beginning do."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from appliers.stores import MemoryStore
from binlog.objects import MemoryObjects
from binlog.target import END, Target
from snapshots.base import SnapshotBase
from snapshots.blame import Blame
from snapshots.diff import LogDiff
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from tests.moments.small_log import Action, Writer, event, key_of, new_log, put
from tests.moments.test_log_diff import ACTIONS, shop, vector_of


def snapshot_at(log: Any, **wanted: Any) -> SnapshotBase:
    store, objects = MemoryStore(), MemoryObjects()
    rebuild(log, store, Wanted(poison="park", **wanted))
    return SnapshotBase(Snapshot(objects, take_snapshot(store, objects)))


@given(
    before=st.lists(ACTIONS, min_size=1, max_size=6),
    until=st.lists(ACTIONS, max_size=4),
    between=st.lists(ACTIONS, max_size=6),
)
def test_a_diff_is_the_same(
    before: list[Action], until: list[Action], between: list[Action]
) -> None:
    """A snapshot is only a nearer beginning."""
    log = new_log()
    writer = Writer(log)
    writer.append(before)
    base = snapshot_at(log)
    writer.append(until)
    first = Target(vector=vector_of(log))
    writer.append(between)
    whole = LogDiff(log, first, END, Wanted())
    nearer = LogDiff(log, first, END, Wanted(), base=base)
    assert list(nearer) == list(whole)
    assert (nearer.first_vector, nearer.second_vector) == (whole.first_vector, whole.second_vector)


def test_a_blame_has_what_came_after_and_says_what_it_began_with() -> None:
    """Where the log has forgotten the rest, that is more than nothing, and it is told apart."""
    log = new_log()
    writer = Writer(log)
    writer.append([put("a", n=1, m=1), put("b", n=1)])
    base = snapshot_at(log)
    writer.append([put("b", n=2), put("a", n=2, m=1)])
    blame = Blame(log, "users", key_of("a"), Wanted(), base=base)
    told = list(blame.events())
    assert [(each.outcome, each.cause.id) for each in told] == [("snapshot", ""), ("applied", "e4")]
    assert base.name in told[0].detail
    whole = Blame(log, "users", key_of("a"), Wanted())
    list(whole.events())
    assert blame.item == whole.item
    assert blame.attributes["n"].since.id == "e4"
    assert blame.attributes["m"].since == told[0].cause
    assert blame.attributes["m"].writer.id == "e4"


def test_an_item_that_the_snapshot_does_not_have_begins_with_its_events() -> None:
    """And one that is parked in it waits on."""
    log = new_log()
    writer = Writer(log)
    writer.append([put("b", n=1), event("Paid", "b", bad=True)])
    base = snapshot_at(log, rules=shop.build())
    writer.append([put("a", n=1), put("b", n=2)])
    wanted = Wanted(rules=shop.build())
    new = list(Blame(log, "users", key_of("a"), wanted, base=base).events())
    assert [(each.outcome, each.cause.id) for each in new] == [("applied", "e3")]
    parked = Blame(log, "users", key_of("b"), wanted, base=base)
    assert [each.outcome for each in parked.events()] == ["snapshot", "waits"]
    assert parked.item is not None
    assert parked.item.parked
