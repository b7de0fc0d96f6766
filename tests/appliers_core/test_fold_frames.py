"""What the fold does with single frames: the fast path, its checks, and what it refuses."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from appliers.exclusion import Exclusions
from appliers.fold import Fold
from appliers.routing import Routing
from binlog.envelope import DELETE_ITEM, PUT_ITEM, UPDATE_ITEM, Envelope
from binlog.errors import PoisonError, UpgradeError
from binlog.params import Params
from binlog.values import ITEM_BYTES_FREE
from tests.appliers_core.fold_support import (
    PARAMS,
    by_partition,
    cut,
    delete,
    envelope,
    partition_for,
    put,
    rows_of,
    run_of,
    update,
)

ONE = Params(log_id="cd" * 16, partitions=1)


def folded(*frames: list[Envelope], routing: Routing | None = None) -> Fold:
    """The frames, one after the other, in a log of one partition."""
    fold = Fold(routing or Routing(ONE))
    first = 1
    for events in frames:
        fold.add(run_of(events, partition=0, first=first))
        first += len(events)
    return fold


def test_the_last_version_of_an_item_is_the_last_event_that_touched_it() -> None:
    fold = folded([put("a", n=1), put("b", n=1)], [put("a", n=2)])
    assert rows_of(fold) == {"a": (3, {"id": "a", "n": 2}), "b": (2, {"id": "b", "n": 1})}


def test_a_delete_leaves_a_tombstone_also_where_nothing_was() -> None:
    fold = folded([put("a"), delete("a"), delete("never")])
    assert rows_of(fold) == {"a": (2, None), "never": (3, None)}


def test_an_update_that_changes_nothing_moves_the_version() -> None:
    fold = folded([put("a", n=1), update("a", Remove=["absent"]), update("a")])
    assert rows_of(fold) == {"a": (3, {"id": "a", "n": 1})}


def test_an_update_of_a_deleted_item_creates_it_anew() -> None:
    """Nothing of the item before the delete comes back."""
    fold = folded([put("a", old=1), delete("a"), update("a", Add={"n": 1})])
    assert rows_of(fold) == {"a": (3, {"id": "a", "n": 1})}


def test_versions_carry_the_timeline() -> None:
    later = msgspec.structs.replace(ONE, timeline=2)
    fold = folded([put("a"), update("a", Set={"x": 1})], routing=Routing(later))
    assert rows_of(fold) == {"a": ((2 << 48) + 2, {"id": "a", "x": 1})}


def test_tables_do_not_mix() -> None:
    fold = folded([put("a", n=1), put("a", table="other", n=2), update("a", Add={"n": 5})])
    assert rows_of(fold) == {"a": (3, {"id": "a", "n": 6})}
    assert rows_of(fold, "other") == {"a": (2, {"id": "a", "n": 2})}
    assert fold.tables == {"things", "other"}


@pytest.mark.parametrize(
    ("expect", "moves"), [(0, False), (1, False), (2, True), (3, False), (None, True)]
)
def test_an_expected_version_is_the_live_items(expect: int | None, moves: bool) -> None:
    fold = folded([put("x"), put("a")], [put("a", new=1, expect=expect)])
    assert (rows_of(fold)["a"][0] == 3) is moves
    if not moves:
        [rejection] = fold.rejections
        assert (rejection.offset, rejection.expected, rejection.found) == (3, expect, 2)
        assert (rejection.partition, rejection.table, rejection.id) == (0, "things", "e")


@pytest.mark.parametrize(("expect", "moves"), [(0, True), (2, False), (1, False)])
def test_a_tombstone_counts_as_absent_for_an_expected_version(expect: int, moves: bool) -> None:
    fold = folded([put("a"), delete("a")], [update("a", Set={"n": 1}, expect=expect)])
    assert rows_of(fold)["a"] == ((3, {"id": "a", "n": 1}) if moves else (2, None))
    assert [r.found for r in fold.rejections] == ([] if moves else [0])


def test_a_rejected_event_leaves_its_table_and_nothing_in_it() -> None:
    fold = folded([put("a", expect=4)])
    assert fold.tables == {"things"}
    assert rows_of(fold) == {}
    assert (fold.counts.routed, fold.counts.rejected) == (1, 1)


def test_only_the_wanted_tables_are_touched() -> None:
    routing = Routing(ONE, tables={"other"})
    fold = folded([put("a"), put("a", table="other"), put("b")], routing=routing)
    assert fold.tables == {"other"}
    assert rows_of(fold) == {}
    assert (fold.counts.routed, fold.counts.unrouted) == (1, 2)


def test_a_kind_of_which_nothing_was_accepted_makes_no_table() -> None:
    """The sequencer drops duplicates from a frame and leaves its table of kinds as it is."""
    whole = run_of([put("a"), put("a", table="ghost")], partition=0)
    run = msgspec.structs.replace(whole, columns=whole.columns.take([0]), numbers=[1])
    fold = Fold(Routing(ONE))
    fold.add(run)
    assert fold.tables == {"things"}


def test_excluded_events_are_as_if_they_did_not_exist() -> None:
    """Not even a table, a version or a poison of theirs."""
    routing = Routing(ONE, exclusions=Exclusions(["offsets=0:2-4"]))
    fold = folded(
        [put("a", n=1), put("a", n=2), put("g", table="ghost"), update("a", Add={"n": "no"})],
        [update("a", Add={"n": 1})],
        routing=routing,
    )
    assert rows_of(fold) == {"a": (5, {"id": "a", "n": 2})}
    assert fold.tables == {"things"}
    assert (fold.counts.excluded, fold.counts.events) == (3, 5)


@pytest.mark.parametrize(
    ("event", "says"),
    [
        (msgspec.structs.replace(put("a"), data=None), "it has no data"),
        (msgspec.structs.replace(put("a"), data=b""), "it has no data"),
        (msgspec.structs.replace(delete("a"), data=b"\x80"), "a DeleteItem with data"),
        (msgspec.structs.replace(update("a"), data=None), "it has no data"),
        (msgspec.structs.replace(update("a"), data=b"\xc1"), "no value"),
        (msgspec.structs.replace(update("a"), data=b"\xa1x"), "no map of Set"),
        (msgspec.structs.replace(update("a"), key=b"\xc1"), "no value"),
        (update("text", Set={"x": 1}), "the item is no map"),
        (update("torn", Set={"x": 1}), "no value"),
        (envelope(PUT_ITEM, {"id": "a"}, {"id": "a"}), "names no table"),
        (envelope(DELETE_ITEM, {"id": "a"}, None), "names no table"),
        (envelope(UPDATE_ITEM, {"id": "a"}, {}), "names no table"),
    ],
)
def test_an_event_that_no_producer_of_ours_writes_is_named(event: Envelope, says: str) -> None:
    """The log may hold it all the same; the fold stops there and goes on without it."""
    bad = [
        msgspec.structs.replace(put("text"), data=b"\xa4text"),
        msgspec.structs.replace(put("torn"), data=b"\xd9"),
    ]
    with pytest.raises(PoisonError, match=says) as caught:
        folded([put("a"), *bad], [put("b"), event, put("c")])
    assert caught.value.details["offset"] == 5
    routing = Routing(ONE, exclusions=Exclusions(["offsets=0:5"]))
    fold = folded([put("a")], [put("x"), put("y")], [put("b"), event, put("c")], routing=routing)
    assert rows_of(fold)["c"] == (6, {"id": "c"})


@pytest.mark.parametrize("event_type", [PUT_ITEM, DELETE_ITEM, UPDATE_ITEM])
def test_an_action_of_a_newer_schema_stops_the_program(event_type: str) -> None:
    event = envelope(event_type, {"id": "a"}, {}, table="things", schema=2)
    with pytest.raises(UpgradeError, match="schema version 2: partition 0, offset 2"):
        folded([put("a"), event])


def test_the_error_of_a_poison_says_where_and_how_to_go_on() -> None:
    """A person has to find the event and decide; every part is an attribute too."""
    event = msgspec.structs.replace(update("a", Add={"n": 1}), id="it's 7")
    with pytest.raises(PoisonError) as caught:
        folded([put("a", n="text")], [put("b"), event])
    error = caught.value
    assert str(error) == (
        'UpdateItem cannot be applied to {"id":"a"} of things: Add \'n\': a number cannot be added '
        'to a string: partition 0, offset 3, id "it\'s 7": leave it out with --exclude '
        "'id=it'\"'\"'s 7' or --exclude offsets=0:3-3"
    )
    assert error.details == {
        "partition": 0,
        "offset": 3,
        "id": "it's 7",
        "type": "UpdateItem",
        "table": "things",
        "key": {"id": "a"},
        "sequence": 7,
        "reason": "Add 'n': a number cannot be added to a string",
        "exclude": ("id=it's 7", "offsets=0:3-3"),
        "parks": True,
        "alone": False,
    }
    for rule in error.details["exclude"]:  # type: ignore[attr-defined]
        routing = Routing(ONE, exclusions=Exclusions([rule]))
        folded([put("a", n="text")], [put("b"), event], routing=routing)


def test_poison_that_a_later_put_covers_is_found_all_the_same() -> None:
    """Otherwise a rebuild would pass where a replica, cutting its batches elsewhere, stopped."""
    with pytest.raises(PoisonError, match="offset 2"):
        folded([put("a", n="text"), update("a", Add={"n": 1}), put("a", n=1)])


def grown_by(size: int) -> dict[str, Any]:
    return {"x" + str(size): "y" * size}


def test_growth_beyond_the_limit_is_poison_even_if_it_shrinks_again() -> None:
    """Each event is judged on the item as it stands there, not on the end of the batch."""
    big = ITEM_BYTES_FREE - 1_000
    with pytest.raises(PoisonError, match="offset 3, ") as caught:
        folded(
            [
                put("a", x="y" * big),
                update("a", Set={"z": "y" * 900}),
                update("a", Set={"w": "y" * 200}),
                update("a", Remove=["x"]),
            ]
        )
    assert f"the limit is {ITEM_BYTES_FREE}" in str(caught.value)


def test_many_small_updates_of_a_large_item_stay_within_the_limit() -> None:
    """The bound of the size is made exact again when it passes the limit, not the item refused."""
    events = [put("a", x="y" * 300_000)]
    events += [update("a", Set={"n": i, "pad": "z" * 1_000}) for i in range(300)]
    fold = folded(events)
    assert rows_of(fold)["a"][0] == 301


def test_an_item_beyond_the_limit_after_many_updates_is_found() -> None:
    events = [update("a", Set={f"n{i}": "z" * 1_000}) for i in range(500)]
    with pytest.raises(PoisonError, match="the limit") as caught:
        folded(events)
    each = [len(f"n{i}") + 1_000 for i in range(500)]
    size, offset = 3, 0
    while size <= ITEM_BYTES_FREE:
        size += each[offset]
        offset += 1
    assert caught.value.details["offset"] == offset


def test_an_event_may_only_touch_items_of_its_own_partition() -> None:
    """First touch does not make an owner: who was first depends on who replays."""
    mine = next(k for k in "abcdefgh" if partition_for(put(k)) == 0)
    theirs = next(k for k in "abcdefgh" if partition_for(put(k)) == 1)
    fold = Fold(Routing(PARAMS))
    with pytest.raises(PoisonError, match="belongs to events of table 'things'") as caught:
        fold.add(run_of([put(mine), put(theirs), put(mine)], partition=0))
    assert caught.value.details["offset"] == 2
    assert f'key {{"id":"{theirs}"}}' in str(caught.value)


@pytest.mark.parametrize("rightful_first", [True, False])
def test_a_key_met_in_its_own_partition_is_no_ones_elses(rightful_first: bool) -> None:
    """The check is once a key and partition, not once a key."""
    theirs = next(k for k in "abcdefgh" if partition_for(put(k)) == 1)
    fold = Fold(Routing(PARAMS))
    if rightful_first:
        fold.add(run_of([put(theirs)], partition=1))
    with pytest.raises(PoisonError, match="belongs to"):
        fold.add(run_of([put(theirs)], partition=0))


@pytest.mark.parametrize("second", [put, delete, update])
def test_of_two_impossible_events_the_first_is_named(second: Any) -> None:
    """Whichever check is made later: the first is what another cut of the batch would meet."""
    theirs = next(k for k in "abcdefgh" if partition_for(put(k)) == 1)
    mine = next(k for k in "abcdefgh" if partition_for(put(k)) == 0)
    bad = update(mine, Add={"id": 1})
    for events, offset in (([second(theirs), bad], 1), ([bad, second(theirs)], 1)):
        fold = Fold(Routing(PARAMS))
        with pytest.raises(PoisonError) as caught:
            fold.add(run_of(events, partition=0))
        assert caught.value.details["offset"] == offset


def test_every_key_of_a_normal_log_is_owned_by_its_partition() -> None:
    events = [f(str(i)) for i in range(200) for f in (put, update, delete)]
    fold = Fold(Routing(PARAMS))
    for partition, of_partition in by_partition(events).items():
        for run in cut(of_partition, [7], partition):
            fold.add(run)
    assert len(rows_of(fold)) == 200
    assert {row.partition for _, row in fold.rows("things")} == {0, 1, 2, 3}


@pytest.mark.parametrize("first", [1, 2, 4, 5])
def test_a_gap_between_runs_is_refused(first: int) -> None:
    """A run that was lost or given twice would end in other items."""
    fold = Fold(Routing(ONE))
    fold.add(run_of([put("a"), put("b")], partition=0))
    with pytest.raises(ValueError, match=f"offset {first} cannot follow 2"):
        fold.add(run_of([put("a")], partition=0, first=first))


def test_a_bulk_fold_begins_where_it_is_told() -> None:
    """From nothing unless a snapshot stands there; never silently in the middle."""
    with pytest.raises(ValueError, match="offset 5 cannot follow 0"):
        Fold(Routing(ONE)).add(run_of([put("a")], partition=0, first=5))
    Fold(Routing(ONE), after={0: 4}).add(run_of([put("a")], partition=0, first=5))
    Fold(Routing(ONE), after=None).add(run_of([put("a")], partition=0, first=5))
