"""A batch asks a store for no more than it needs, and writes an item once."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.applier import Appliers
from appliers.batch import fold_batch
from appliers.exclusion import Exclusions
from appliers.item import Row, Write
from appliers.routing import Routing
from binlog.envelope import Envelope, Event
from binlog.errors import MismatchError, PoisonError
from binlog.params import Params
from binlog.values import decode_value, encode_value
from tests.appliers_core.fold_support import (
    PARAMS,
    DictStore,
    cut,
    delete,
    envelope,
    partition_for,
    put,
    run_of,
    update,
)

ONE = Params(log_id="cd" * 16, partitions=1)
A, B = encode_value({"id": "a"}), encode_value({"id": "b"})


def test_whole_item_writes_are_blind_and_read_nothing() -> None:
    """I1: what was there before does not matter."""
    store = DictStore()
    run = run_of([put("a", n=1), put("b"), delete("b"), put("a", n=2)], partition=0, first=5)
    batch = fold_batch(Routing(ONE), [run], store.read)
    assert store.reads == []
    assert batch.writes == [
        Write("things", A, Row(8, 0, encode_value({"id": "a", "n": 2})), None),
        Write("things", B, Row(7, 0, None), None),
    ]


def test_a_fold_is_written_on_the_version_that_was_read() -> None:
    """I2, also for an item that is not there: its base is 0."""
    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a", n=1)], partition=0)])
    run = run_of(
        [update("a", Add={"n": 1}), update("b", Add={"n": 1}), update("a", Add={"n": 1})],
        partition=0,
        first=2,
    )
    batch = fold_batch(Routing(ONE), [run], store.read)
    assert store.reads == [("things", [A, B])]
    assert batch.writes == [
        Write("things", A, Row(4, 0, encode_value({"id": "a", "n": 3})), 1),
        Write("things", B, Row(3, 0, encode_value({"id": "b", "n": 1})), 0),
    ]


@pytest.mark.parametrize("frames", [[3], [1, 2], [2, 1], [1, 1, 1]])
@pytest.mark.parametrize("first", [put("a", n=1), delete("a")])
def test_a_fold_after_a_whole_item_write_of_the_same_batch_is_blind(
    first: Envelope, frames: list[int]
) -> None:
    """What it is folded on is in the batch, whichever frames it came in."""
    store = DictStore()
    events = [first, update("a", Set={"n": 6}), update("a", Add={"n": 1})]
    batch = fold_batch(Routing(ONE), list(cut(events, frames, 0)), store.read)
    assert store.reads == []
    assert batch.writes == [Write("things", A, Row(3, 0, encode_value({"id": "a", "n": 7})), None)]


@pytest.mark.parametrize("frames", [[3], [1, 1, 1]])
@pytest.mark.parametrize("expect", [2, 1])
def test_an_expectation_that_is_not_met_after_a_whole_item_write_has_the_item_read(
    frames: list[int], expect: int
) -> None:
    """Of one that is parked it waits; it must not be written down first that it was not met."""
    store = DictStore()
    events = [put("a", n=1), update("a", Set={"n": 6}), update("a", Add={"n": 1}, expect=expect)]
    runs = list(cut(events, frames, 0))
    batch = fold_batch(Routing(ONE), runs, store.read)
    assert store.reads == ([("things", [A])] if expect == 1 else [])
    assert [write.base for write in batch.writes] == [0 if expect == 1 else None]
    assert len(batch.rejections) == (expect == 1)
    store.rows["things", A] = Row(0, 0, None, parked=True, tail=1)
    batch = fold_batch(Routing(ONE), runs, store.read, read_all=expect == 2)
    assert not batch.rejections
    assert [letter.offset for letter in batch.letters] == [2, 3]


def test_whole_item_writes_of_another_table_are_no_base() -> None:
    """The same key in two tables is two items."""
    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a", n=1)], partition=0)])
    run = run_of([put("a", table="other", n=9), update("a", Add={"n": 1})], partition=0, first=2)
    assert [w.base for w in store.apply(Routing(ONE), [run]).writes] == [1, None]
    assert store.rows["things", A].data == encode_value({"id": "a", "n": 2})


def test_an_expected_version_makes_a_put_a_fold() -> None:
    """I5: its version decides, so the item is read and written on condition."""
    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a")], partition=0)])
    run = run_of([put("a", n=2, expect=1), put("b", expect=1)], partition=0, first=2)
    batch = fold_batch(Routing(ONE), [run], store.read)
    assert store.reads == [("things", [A, B])]
    assert batch.writes == [Write("things", A, Row(2, 0, encode_value({"id": "a", "n": 2})), 1)]
    assert [(r.offset, r.expected, r.found) for r in batch.rejections] == [(3, 1, 0)]
    assert batch.tables == {"things"}


def test_events_that_are_in_the_item_already_are_passed_over() -> None:
    """A worker that read the log further has written; its version says which events it had."""
    store = DictStore()
    events = [put("a", n=1), update("a", Add={"n": 1}), update("a", Add={"n": 1})]
    store.apply(Routing(ONE), [run_of(events[:2], partition=0)])
    store.apply(Routing(ONE), [run_of(events[1:], partition=0, first=2)])
    assert store.rows["things", A] == Row(3, 0, encode_value({"id": "a", "n": 3}))


def test_reading_all_makes_every_write_conditional() -> None:
    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a")], partition=0)])
    run = run_of([put("a", n=2), put("b")], partition=0, first=2)
    batch = fold_batch(Routing(ONE), [run], store.read, read_all=True)
    assert [(write.key, write.base) for write in batch.writes] == [(A, 1), (B, 0)]


def test_excluded_events_are_not_read_for() -> None:
    store = DictStore()
    routing = Routing(ONE, exclusions=Exclusions(["offsets=0:1"]))
    batch = fold_batch(
        routing, [run_of([update("a", Add={"n": 1}), update("b")], partition=0)], store.read
    )
    assert store.reads == [("things", [B])]
    assert batch.counts.excluded == 1


def test_an_excluded_put_is_no_base() -> None:
    """The update after it is folded on what the store holds, not on an item nobody wrote."""
    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a", n=1)], partition=0)])
    routing = Routing(ONE, exclusions=Exclusions(["offsets=0:2"]))
    run = run_of([put("a", n=50), update("a", Add={"n": 1})], partition=0, first=2)
    store.apply(routing, [run])
    assert store.rows["things", A] == Row(3, 0, encode_value({"id": "a", "n": 2}))


def test_one_read_a_table_whatever_the_number_of_runs_and_partitions() -> None:
    store = DictStore()
    events = [update(key, table=table) for key in "abcdefgh" for table in ("things", "other")]
    runs, firsts = [], dict.fromkeys(range(4), 1)
    for event in events:
        partition = partition_for(event)
        runs.append(run_of([event], first=firsts[partition]))
        firsts[partition] += 1
    store.apply(Routing(PARAMS), runs)
    assert sorted((table, len(keys)) for table, keys in store.reads) == [
        ("other", 8),
        ("things", 8),
    ]
    assert all(
        row.partition == partition_for(update(_id(key), table=table))
        for (table, key), row in store.rows.items()
    )


def _id(key: bytes) -> str:
    return str(decode_value(key)["id"])


def test_nothing_is_read_for_an_item_that_the_event_may_not_touch() -> None:
    """Ownership is decided before any store is read."""
    theirs = next(k for k in "abcdefgh" if partition_for(put(k)) == 1)
    store = DictStore()
    with pytest.raises(PoisonError, match="belongs to"):
        fold_batch(Routing(PARAMS), [run_of([update(theirs)], partition=0)], store.read)
    assert store.reads == []


def test_an_item_of_another_partition_is_refused() -> None:
    """Its rows were made under another owner."""
    store = DictStore()
    store.rows["things", A] = Row(3, 2, encode_value({"id": "a"}))
    with pytest.raises(MismatchError, match="made by partition 2"):
        fold_batch(Routing(ONE), [run_of([update("a")], partition=0)], store.read)


def test_a_parked_item_is_not_continued() -> None:
    """What comes for it waits behind it, also where nothing new is parked."""
    store = DictStore()
    store.rows["things", A] = Row(3, 0, encode_value({"id": "a"}), parked=True, tail=5)
    batch = fold_batch(Routing(ONE), [run_of([update("a")], partition=0, first=6)], store.read)
    [write] = batch.writes
    assert write.row == Row(3, 0, encode_value({"id": "a"}), parked=True, tail=6)
    assert (write.base, write.tail) == (3, 5)
    assert [(x.offset, x.reason, x.alone) for x in batch.letters] == [(6, "", False)]
    before = fold_batch(Routing(ONE), [run_of([update("a")], partition=0, first=5)], store.read)
    assert (before.writes, before.letters) == ([], [])


def test_a_users_appliers_keys_are_read() -> None:
    appliers = Appliers()

    @appliers.on("Split", table="things", keys=lambda event: [{"id": i} for i in event.data])
    def split(item: dict[str, Any] | None, event: Event, key: dict[str, Any]) -> dict[str, Any]:
        return {**key, "n": (item or {"n": 0})["n"] + 1}

    store = DictStore()
    store.apply(Routing(ONE), [run_of([put("a", n=5)], partition=0)])
    routing = Routing(ONE, rules=appliers.build())
    run = run_of([envelope("Split", {"id": "a"}, ["a", "b"], table="things")], partition=0, first=2)
    batch = store.apply(routing, [run])
    assert store.reads == [("things", [A, B])]
    assert [(w.row.version, w.base) for w in batch.writes] == [(2, 1), (2, 0)]
    assert store.rows["things", A].data == encode_value({"id": "a", "n": 6})
    assert batch.types == {"Split"}


def test_of_two_impossible_events_of_a_batch_the_first_is_named() -> None:
    """Although where an event goes is asked before anything is folded."""
    appliers = Appliers()
    appliers.on("Split", table="things", keys=lambda event: event.data["absent"])(_never)
    routing = Routing(ONE, rules=appliers.build())
    split = envelope("Split", {"id": "a"}, {}, table="things")
    for events, offset in (
        ([put("a", n="x"), update("a", Add={"n": 1}), split], 2),
        ([put("a", n="x"), split, update("a", Add={"n": 1})], 2),
        ([put("a", n="x"), split], 2),
    ):
        with pytest.raises(PoisonError) as caught:
            fold_batch(routing, [run_of(events, partition=0)], DictStore().read)
        assert caught.value.details["offset"] == offset


def _never(item: object, event: object) -> None:
    raise AssertionError


class Moody:
    """A key function that is not pure: ``answers`` are given one after the other."""

    def __init__(self, *answers: str | None) -> None:
        self.answers = list(answers)

    def __call__(self, _: Event) -> dict[str, Any]:
        answer = self.answers.pop(0)
        if answer is None:
            raise OSError("not just now")
        return {"id": answer}


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ((None, "a"), "not the same each time"),
        (("b", "a"), "not the same each time"),
        (("a", None, "a", "a"), "not just now"),
    ],
)
def test_a_key_that_changes_while_it_is_folded_overwrites_nothing(
    answers: tuple[str | None, ...], reason: str
) -> None:
    """The item was not read, so what a purer function would have added to was replaced."""
    rules = Appliers()
    rules.on("Paid", table="things", key=Moody(*answers))(lambda _, event: event.key)
    routing = Routing(ONE, rules=rules.build())
    events = [envelope("Paid", {"id": "a"}, {}, table="things")] * (len(answers) // 2)
    run = run_of([*events, update("b", Add={"n": 1})], partition=0, first=5)
    with pytest.raises(PoisonError, match=reason):
        fold_batch(routing, [run], DictStore().read)


def test_an_item_of_another_partition_is_refused_as_such() -> None:
    """It is not read, and that is not the key function's doing."""
    rules = Appliers()
    rules.on("Paid", table="things")(lambda _, event: event.key)
    paid = envelope("Paid", {"id": "a"}, {}, table="things")
    run = run_of([paid], partition=(partition_for(paid) + 1) % PARAMS.partitions)
    with pytest.raises(PoisonError, match="belongs to events of"):
        fold_batch(Routing(PARAMS, rules=rules.build()), [run], DictStore().read)
