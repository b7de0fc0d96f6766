"""What networks, services and other writers do to a commit: nothing is lost, guessed or written over."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import pytest

from appliers.stores.dynamodb import DynamoDBStore
from binlog.errors import BusyError, ConflictError, LostError, RefusedError, StorageError
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import (
    GENESIS,
    checkpoint,
    content,
    fold,
    key,
    put,
    rejection,
    row,
)
from tests.stores.dynamodb_double import DynamoDBDouble, Kind, refusal
from tests.stores.dynamodb_story import CONTROL, ORDERS, begin, stored, written


@pytest.fixture
def double() -> DynamoDBDouble:
    return DynamoDBDouble()


@pytest.fixture
def begun(double: DynamoDBDouble) -> Iterator[tuple[DynamoDBStore, str]]:
    """Table and one item are there, so that what follows is the commit alone."""
    store, generation = begin(double)
    store.commit(generation, [put("old", 1)], [checkpoint(0, 1)])
    yield store, generation
    store.close()


def plan(double: DynamoDBDouble, operation: str, *kinds: Kind | None) -> None:
    double.faults[operation] = deque(kinds)
    double.calls.clear()


# A commit's puts: the number of the commit, then the item, then the checkpoint.
ITEM, CHECKPOINT = 1, 2


@pytest.mark.parametrize("place", [0, ITEM, CHECKPOINT])
@pytest.mark.parametrize(
    "kind",
    ["throttle", "unreached", "lose request", "lose reply", "late", "failure", "failure, done"],
)
@pytest.mark.parametrize("write", [put("a", 5), fold("a", 5, 0), fold("old", 5, 1)])
def test_whatever_becomes_of_a_put_the_commit_is_done_once(
    double: DynamoDBDouble,
    begun: tuple[DynamoDBStore, str],
    place: int,
    kind: Kind,
    write: Any,
) -> None:
    """A reply that is lost says nothing: not that it was done, and not that somebody else was there."""
    store, generation = begun
    plan(double, "put_item", *[None] * place, kind)
    assert store.commit(generation, [write], [checkpoint(0, 5)]) == []
    for land in double.under_way:
        land()
    assert content(store)[write.key] == write.row
    assert store.checkpoints(generation) == {0: checkpoint(0, 5)}
    assert store.commit(generation, [put("b", 6)], [checkpoint(0, 6)]) == []


@pytest.mark.parametrize(
    "code", ["TransactionConflictException", "ReplicatedWriteConflictException"]
)
@pytest.mark.parametrize("table", [ORDERS, CONTROL])
def test_an_item_that_another_transaction_has_is_written_when_it_is_over(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], code: str, table: str
) -> None:
    """An application may look at it in a transaction of its own: no bad input, and it passes."""
    store, generation = begun
    left = [code] * 3

    def busy(request: dict[str, Any]) -> None:
        if left and request["TableName"] == table:
            raise refusal(left.pop(), "Transaction is ongoing for the item")

    double.hooks["put_item"] = busy
    assert store.commit(generation, [put("a", 5)], [checkpoint(0, 5)]) == []
    assert not left
    assert content(store)[key("a")] == row("a", 5)
    left = [code] * 1_000
    with pytest.raises(StorageError, match="has it") as caught:
        store.commit(generation, [put("b", 6)], [checkpoint(0, 6)])
    assert caught.value.exit_status == 3


@pytest.mark.parametrize("hands_over_old", [True, False])
def test_an_attempt_that_lands_between_the_read_and_the_repeat_is_ours(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], *, hands_over_old: bool
) -> None:
    """The repeat's condition fails, and what it fails on is what we wrote."""
    store, generation = begun
    double.hands_over_old = hands_over_old  # not every proxy leaves it in
    plan(double, "put_item", None, "late")

    def land(request: dict[str, Any]) -> None:
        if request["TableName"] == ORDERS and double.under_way:
            double.under_way.pop()()

    double.hooks["put_item"] = land
    assert store.commit(generation, [put("a", 5)], [checkpoint(0, 5)]) == []
    assert content(store)[key("a")] == row("a", 5)
    assert written(double).count("item") == 2


def test_a_late_attempt_does_not_bring_back_what_was_replaced(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """It lands after its successors, under the condition that it was sent with."""
    store, generation = begun
    plan(double, "put_item", None, "late", None, "late")
    store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    store.commit(generation, [put("a", 7, gone=True)], [checkpoint(0, 7)])
    before = content(store), store.checkpoints(generation)
    assert len(double.under_way) == 2
    for land in double.under_way:
        land()
    assert (content(store), store.checkpoints(generation)) == before


def test_a_conflict_after_a_lost_request_is_a_conflict(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """Nobody's write is taken for ours because a reply was lost."""
    store, generation = begun

    def overtaken(request: dict[str, Any]) -> None:
        if request["TableName"] == ORDERS:
            other = stored(double)["old"] | {"id": {"S": "a"}}
            other["_binlog"] = {"M": {"v": {"N": "9"}, "p": {"N": "0"}}}
            double.put(ORDERS, other)

    plan(double, "put_item", None, "lose request")
    double.hooks["get_item"] = overtaken
    lost = put("a", 5)
    assert store.commit(generation, [lost], [checkpoint(0, 5)]) == [lost]
    assert content(store)[key("a")].version == 9
    assert store.checkpoints(generation) == {0: checkpoint(0, 1)}


def test_who_is_never_served_is_told_and_nothing_moved(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """Throttled for ever: an error that says so, and the checkpoint stands."""
    store, generation = begun
    double.weather = lambda operation: "throttle" if operation == "put_item" else None
    with pytest.raises(StorageError, match="throttled"):
        store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    double.weather = lambda _: None
    assert store.checkpoints(generation) == {0: checkpoint(0, 1)}
    assert store.commit(generation, [put("a", 5)], [checkpoint(0, 5)]) == []


def test_what_is_not_permitted_is_said_at_once(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """No patience helps."""
    store, generation = begun
    plan(double, "put_item", None, "refuse")
    with pytest.raises(RefusedError, match="dynamodb:X"):
        store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])


@pytest.mark.parametrize("base", [None, 0, 3])
def test_an_item_of_somebody_else_is_never_written_over(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], base: int | None
) -> None:
    """An item without `_binlog`: refused, with table, key and what is to come."""
    store, generation = begun
    theirs = {"id": {"S": "a"}, "mine": {"N": "1"}, "v": {"N": "0"}}
    double.put(ORDERS, theirs)
    write = put("a", 5) if base is None else fold("a", 5, base)
    with pytest.raises(ConflictError, match=r'orders .*"a".*binlog adopt'):
        store.commit(generation, [write], [checkpoint(0, 5)])
    with pytest.raises(ConflictError, match="orders"):
        store.read(generation, "orders", [key("a")])
    assert stored(double)["a"] == theirs
    assert store.checkpoints(generation) == {0: checkpoint(0, 1)}


def test_C3_rejections_then_items_then_checkpoints(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """In any other order a crash between two of them loses an event, or its rejection."""
    store, generation = begun
    double.calls.clear()
    store.commit(
        generation,
        [put("a", 5), put("b", 5)],
        [checkpoint(0, 5), checkpoint(1, 1)],
        rejections=[rejection(4)],
    )
    assert written(double) == ["lock", "rejected", "item", "item", "at", "at"]


def test_C3_a_crash_at_any_call_loses_nothing(double: DynamoDBDouble) -> None:
    """Whoever comes next finds the items ahead of the checkpoint, or both, and can go on."""
    for place in range(12):
        double = DynamoDBDouble()
        store, generation = begin(double)
        store.commit(generation, [put("old", 1)], [checkpoint(0, 1)])
        double.faults = {"put_item": deque([*[None] * place, "refuse"])}
        batch = [put("a", 5), put("b", 5, table="users")]
        places = [checkpoint(0, 5), checkpoint(1, 5)]
        try:
            store.commit(generation, batch, places, rejections=[rejection(4)], tables=["empty"])
        except RefusedError:
            at = store.checkpoints(generation)
            if 1 in at or at[0].sequence == 5:
                assert stored(double)["a"], place
                assert stored(double, "shop.users")["b"], place
        else:
            assert place > 6
            store.close()
            break
        store.close()
        again = store_on(double)
        seen = again.read(generation, "orders", [key("a")])
        left = [] if seen else [put("a", 5)]
        if not again.read(generation, "users", [key("b")]):
            left.append(put("b", 5, table="users"))
        standing = again.checkpoints(generation)
        ahead = [c for c in places if standing.get(c.partition) != c]
        assert (
            again.commit(generation, left, ahead, rejections=[rejection(4)], tables=["empty"]) == []
        )
        assert content(again)[key("a")] == row("a", 5)
        assert content(again, "users") == {key("b"): row("b", 5)}
        assert again.checkpoints(generation) == {0: checkpoint(0, 5), 1: checkpoint(1, 5)}
        assert list(again.rejections()) == [rejection(4)]
        assert again.generations()[0].tables == ("empty", "orders", "users")
        again.close()
    else:
        raise AssertionError("the commit never came to its end")


def test_a_checkpoint_that_another_moved_meanwhile_is_lost(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """A row is written over the one that was read, and over no other: that is C2 without transactions."""
    store, generation = begun

    def moved(request: dict[str, Any]) -> None:
        if request["TableName"] == ORDERS:
            (at,) = [i for i in double.items(CONTROL) if i["pk"]["S"].startswith("at#")]
            double.put(CONTROL, at | {"rev": {"N": "77"}, "sequence": {"S": "8"}})

    double.hooks["put_item"] = moved
    with pytest.raises(LostError, match="partition 0"):
        store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    double.hooks.clear()
    assert store.checkpoints(generation)[0].sequence == 8
    with pytest.raises(LostError):  # read again by now, and still ahead of us
        store.commit(generation, [put("a", 6)], [checkpoint(0, 5)])


def test_a_writer_whose_lock_ran_out_is_told_before_it_writes(double: DynamoDBDouble) -> None:
    """The lock is asked for at each commit; what then follows stands under its own conditions."""
    zombie, generation = begin(double)
    zombie.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    double.clock.advance(10 * 60 * 1000)
    current = store_on(double)
    current.lock(wait_s=0)
    current.commit(generation, [put("a", 2)], [checkpoint(0, 2)])
    double.calls.clear()
    with pytest.raises(BusyError, match="process"):
        zombie.commit(generation, [put("a", 3)], [checkpoint(0, 3)])
    assert "item" not in written(double)
    current.close()
    with pytest.raises(LostError):  # it has the lock again, and is behind
        zombie.commit(generation, [put("a", 3)], [checkpoint(0, 2)])
    zombie.close()


def test_a_zombie_of_a_replaced_generation_writes_where_nobody_reads(
    double: DynamoDBDouble,
) -> None:
    """It was paused between the lock and the item: the table that it meant has another name by now."""
    zombie, generation = begin(double, width=1)
    zombie.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    woken: list[object] = []

    def replaced(request: dict[str, Any]) -> None:
        if request["TableName"] == ORDERS and not woken:
            woken.append(request)
            double.clock.advance(10 * 60 * 1000)
            other = store_on(double)
            build = other.build(tables=None, fingerprint="f2", excluded=())
            build.load("orders", [(key("a"), row("a", 1))])
            build.finish({0: checkpoint(0, 1)}, tables=[])
            # And once more, so that a table of that name would be there again if it could.
            other.build(tables=None, fingerprint="f3", excluded=()).finish({}, tables=["none"])
            third = other.generations()[0].id
            other.commit(third, [put("b", 1)], [checkpoint(0, 1)])
            other.close()

    double.hooks["put_item"] = replaced
    with pytest.raises(LostError):
        zombie.commit(generation, [put("a", 2)], [checkpoint(0, 2)])
    double.hooks.clear()
    assert woken
    reader = store_on(double)
    assert content(reader) == {key("b"): row("b", 1)}
    assert len([name for name in double.tables if name.startswith(ORDERS)]) == 1
    for store in (zombie, reader):
        store.close()


def test_what_a_batch_leaves_out_is_asked_for_again(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """UnprocessedKeys and UnprocessedItems are no answer: left out, keys would be taken for absent."""
    store, _ = begun
    names = [f"k{number}" for number in range(250)]
    build = store.build(tables=None, fingerprint="f2", excluded=())
    double.faults = {
        "batch_write_item": deque(["partly", "throttle", "lose reply", "partly", "failure"]),
        "batch_get_item": deque(["partly", "partly", "throttle", "lose request", "partly"]),
    }
    build.load("orders", [(key(name), row(name, 1)) for name in names])
    build.finish({}, tables=[])
    assert len(content(store)) == 250
    found = store.read(build.generation, "orders", [key(name) for name in names])
    assert found == {key(name): row(name, 1) for name in names}
    assert not any(double.faults.values())


def test_B1_a_batch_that_lands_late_lands_before_the_switch(double: DynamoDBDouble) -> None:
    """Afterwards it would put the build's row over a newer one, with no condition to stop it."""
    store = store_on(double, landing_s=60.0, width=1)
    store.bind(GENESIS)
    build = store.build(tables=None, fingerprint="f1", excluded=())
    plan(double, "batch_write_item", "late")
    build.load("orders", [(key("a"), row("a", 1))])
    (land,) = double.under_way
    begun_s = double.clock.monotonic()
    double.hooks["put_item"] = lambda request: (
        land() if request["Item"].get("sk") == {"S": "catalog"} else None
    )
    build.finish({}, tables=[])
    assert double.clock.monotonic() >= begun_s + 59.9
    store.commit(build.generation, [put("a", 2)], [checkpoint(0, 2)])
    assert content(store)[key("a")].version == 2
    store.close()
