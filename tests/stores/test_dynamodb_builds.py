"""A build that ends at any call, or whose outcome nobody knows: what is live stays whole."""

from __future__ import annotations

from collections import deque
from typing import Any, Literal

import pytest

from appliers.item import Row
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_build import DynamoDBBuild
from binlog.errors import ConflictError, LostError, PoisonError, StorageError
from binlog.values import encode_value
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, content, key, put, rejection, row
from tests.stores.dynamodb_double import DynamoDBDouble, Kind
from tests.stores.dynamodb_story import CONTROL, begin

OLD, NEW = {key("a"): row("a", 1)}, {key("a"): row("a", 1), key("b"): row("b", 2)}
End = Literal["killed before", "killed after", "interrupted before", "interrupted after"]
ENDS: tuple[End, ...] = ("killed before", "killed after", "interrupted before", "interrupted after")


class Killed(BaseException):
    """The process is no more: nothing it does is done."""


class Ending(DynamoDBDouble):
    """Whose ``at``th call from now is the last one, or is interrupted (Ctrl-C), once."""

    at = -1
    end: End = "killed before"
    dead = False

    def _called(self, operation: str, request: dict[str, Any]) -> Any:
        if self.dead:
            raise Killed
        self.at -= 1
        if self.at != 0:
            return super()._called(operation, request)
        if self.end.endswith("after"):
            super()._called(operation, request)
        if self.end.startswith("killed"):
            self.dead = True
            raise Killed
        raise KeyboardInterrupt


def build_of(store: DynamoDBStore) -> DynamoDBBuild:
    return store.build(tables=None, fingerprint="f2", excluded=())


def fill(build: DynamoDBBuild) -> None:
    build.load("orders", list(NEW.items()))
    build.load("users", [(key("u"), row("u", 1))])
    build.reject([rejection(4)])


def finish(build: DynamoDBBuild) -> None:
    build.finish({0: checkpoint(0, 5), 1: checkpoint(1, 5)}, tables=["empty"])


def rebuilt(store: DynamoDBStore) -> None:
    """As `snapshots.rebuild` does it."""
    build = build_of(store)
    try:
        fill(build)
        finish(build)
    except BaseException:
        build.abandon()
        raise


def check_whole(store: DynamoDBStore) -> dict[bytes, Row]:
    """That what is live is all of one build, or all of what was before it."""
    (generation,) = store.generations()
    found = content(store)
    if generation.fingerprint == "f2":
        assert found == NEW
        assert content(store, "users") == {key("u"): row("u", 1)}
        assert list(store.rejections()) == [rejection(4)]
        wanted = {0: checkpoint(0, 5), 1: checkpoint(1, 5)}
        assert generation.tables == ("empty", "orders", "users")
    else:
        assert found == OLD
        assert list(store.rejections()) == []
        wanted = {0: checkpoint(0, 1)}
    assert store.checkpoints(generation.id) == wanted
    assert store.read(generation.id, "orders", list(NEW)) == found
    return found


@pytest.mark.parametrize("end", ENDS)
def test_B1_a_build_that_ends_at_any_call_is_all_there_or_not_at_all(end: End) -> None:
    """And what comes after it, a build that does not even get to its end, takes nothing away."""
    seen = set()
    for at in range(1, 200):
        double = Ending()
        store, generation = begin(double, width=1)
        store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
        double.at, double.end = at, end
        try:
            rebuilt(store)
        except (Killed, KeyboardInterrupt):
            is_over = False
        else:
            is_over = True
        double.at, double.dead = -1, False
        if end.startswith("interrupted"):
            store.close()
        double.clock.advance(1_000_000)  # the lock of a process that is no more
        again = store_on(double, width=1)
        again.bind(GENESIS)
        before = check_whole(again)
        seen.add(len(before))
        build_of(again).leave()
        assert check_whole(again) == before, at
        rebuilt(again)
        assert check_whole(again) == NEW, at
        assert len(double.tables) == 3, at
        again.close()
        if is_over:
            break
    else:
        raise AssertionError("the build never came to its end")
    assert seen == {1, 2}


@pytest.mark.parametrize("kind", ["lose reply", "failure, done", "late", "lose request"])
def test_B1_a_switch_of_which_nobody_knows_whether_it_was_done_is_looked_at(kind: Kind) -> None:
    """Whoever then abandons the build must not take away what may be live, by then or later."""
    double = DynamoDBDouble()
    store, generation = begin(double, width=1)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    build = build_of(store)
    fill(build)

    lost: list[Kind] = ["lose request"] * 2000

    def switch(request: dict[str, Any]) -> None:
        if request["Item"].get("sk") == {"S": "catalog"}:
            double.faults["put_item"] = deque([kind, *lost])
            del double.hooks["put_item"]

    double.hooks["put_item"] = switch
    with pytest.raises(StorageError):
        finish(build)
    double.faults.clear()
    build.abandon()
    for land in double.under_way:
        land()
    store.close()
    again = store_on(double, width=1)
    again.bind(GENESIS)
    assert check_whole(again) == (NEW if kind in ("lose reply", "failure, done") else OLD)
    again.close()


@pytest.mark.parametrize("moment", ["filled", "checkpoints", "begun"])
def test_B1_of_two_builds_the_one_that_lost_its_lock_does_not_switch(moment: str) -> None:
    """Its tables were removed by the other one, which is not at its end yet."""
    double = DynamoDBDouble()
    store, generation = begin(double, width=1)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    first = build_of(store)
    others: list[DynamoDBStore] = []

    def other(_: object = None) -> None:
        double.hooks.clear()
        double.clock.advance(1_000_000)
        others.append(store_on(double, width=1))
        others[0].bind(GENESIS)
        build_of(others[0])
        others[0].close()  # or it goes on for long

    if moment == "begun":
        other()
    else:
        fill(first)
        if moment == "filled":
            other()
        else:
            double.hooks["put_item"] = lambda request: (
                other() if request["Item"].get("sk") == {"S": "catalog"} else None
            )
    try:
        if moment == "begun":
            fill(first)
        finish(first)
    except (LostError, ConflictError):
        first.abandon()
    store.close()
    again = store_on(double, width=1)
    again.bind(GENESIS)
    check_whole(again)
    again.close()


def test_items_that_dynamodb_refuses_in_many_batches_at_once_are_named() -> None:
    """Which of a batch it is, is found out by the thread that has it: waiting for others may be for ever."""
    double = DynamoDBDouble()
    store = store_on(double, width=2)
    store.bind(GENESIS)
    build = build_of(store)
    large = "x" * (400 * 1024 - 20)
    rows = [
        (key(f"k{n}"), Row(n + 1, 0, encode_value({"id": f"k{n}", "at": large}))) for n in range(60)
    ]
    with pytest.raises(PoisonError, match="cannot be in DynamoDB"):
        build.load("orders", rows)
    build.abandon()
    assert set(double.tables) <= {CONTROL}
    store.close()
