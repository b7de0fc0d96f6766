"""A user's own rules in the world: what they refuse, how they fail, and what must be true of them."""

from __future__ import annotations

from typing import Any

import pytest

from appliers.applier import ApplierError, Appliers
from binlog.changes import event
from binlog.envelope import Envelope, Event
from binlog.errors import RefusedError
from binlog.testing.violation import Violation
from binlog.testing.world.judge import Invariants
from binlog.testing.world.world import World

accounts = Appliers()


@accounts.on("Paid", table="accounts")
def pay(item: dict[str, Any] | None, paid: Event) -> dict[str, Any]:
    balance = 0 if item is None else item["balance"]
    return {**paid.key, "balance": balance + paid.data}


@accounts.on("Drawn", table="accounts")
def draw(item: dict[str, Any] | None, drawn: Event) -> dict[str, Any]:
    if item is None or item["balance"] < drawn.data:
        raise ApplierError("there is not that much")
    return {**item, "balance": item["balance"] - drawn.data}


@accounts.on("Closed", table="accounts")
def close(item: dict[str, Any] | None, _closed: Event) -> dict[str, Any] | None:
    assert item is not None
    return {**item, "closed": True} if item["balance"] else None


RULES = accounts.build()


def of(kind: str, key: str, data: int | None = None) -> Envelope:
    return event(kind, {"id": key}, data, table="accounts", event_id=f"{kind}{key}{data}")


def publish(world: World, *events: Envelope, process: int = 0) -> None:
    world.publish(process, list(events))
    world.tick(5)
    world.call(process)


def balances(world: World) -> list[dict[bytes, bytes | None]]:
    return [
        {key: row.data for key, row in replica.store.scan("accounts")} for replica in world.replicas
    ]


def test_what_appliers_refuse_is_left_out_by_every_replica_and_the_reference() -> None:
    """An operator would do just that; so appliers that refuse events can be proven, too."""
    world = World(RULES)
    publish(world, of("Paid", "a", 5), of("Drawn", "a", 3), of("Drawn", "a", 4))
    world.consume(0)
    publish(world, of("Drawn", "b", 1), of("Paid", "b", 1), process=1)
    world.consume(1)
    world.settle()
    assert world.met["poison"] >= 1
    assert len(world.truth.poison) == 2
    rules = {f"offsets={p}:{o}-{o}" for p, o in world.truth.poison}
    assert all(set(replica.excluded) == rules for replica in world.replicas)
    left, right = balances(world)
    assert left == right
    assert len(left) == 2


def test_the_consumer_of_a_replica_that_was_rebuilt_loses_its_generation() -> None:
    """It goes on with what it has, and nothing of it reaches the new generation."""
    world = World(RULES)
    publish(world, of("Paid", "a", 5))
    world.consume(0)
    world.rebuild(0)
    publish(world, of("Paid", "a", 6))
    before = len(world.replicas[0].store.journal)
    world.wake(0, 5)
    assert len(world.replicas[0].store.journal) == before
    assert world.met["rebuilt generation lost by the old consumer"] == 1
    world.settle()


@pytest.mark.parametrize("replica", [0, 1])
def test_an_applier_that_fails_otherwise_breaks_a_law(replica: int) -> None:
    """What it does not declare it has to take."""
    world = World(RULES, tell=True)
    publish(world, of("Closed", "a"))
    with pytest.raises(Violation, match="an applier fails on an event") as caught:
        world.consume(replica)
    assert caught.value.law == "total"
    assert "AssertionError" in str(caught.value)
    assert any("publishes #1: Closed of accounts {id: a}" in line for line in caught.value.story)


def test_an_applier_that_is_not_pure_is_found() -> None:
    """The same event gives another item each time: no replica can equal another."""
    impure, calls = Appliers(), iter(range(1_000))

    @impure.on("Paid", table="accounts")
    def count(_item: object, paid: Event) -> dict[str, Any]:
        return {**paid.key, "balance": next(calls)}

    world = World(impure)
    publish(world, of("Paid", "a", 5))
    world.consume(0)
    with pytest.raises(Violation, match="another content than its events fold to"):
        world.settle()


def test_invariants_are_asked_of_every_version_and_every_vector() -> None:
    """Once each, whatever the replicas did."""
    items: list[tuple[str, dict[str, Any], dict[str, Any] | None]] = []
    vectors: list[dict[int, int]] = []
    totals: list[int] = []

    def item(table: str, key: dict[str, Any], value: dict[str, Any] | None) -> None:
        items.append((table, key, value))

    def replica(vector: dict[int, int], tables: Any) -> None:
        vectors.append(vector)
        totals.append(sum(each["balance"] for each in tables.get("accounts", ())))

    world = World(RULES, invariants=Invariants(item=item, replica=replica))
    for amount in (5, 6, 7):
        publish(world, of("Paid", "a", amount))
        world.consume(0)
    world.settle()
    assert [value["balance"] for _, _, value in items if value is not None] == [5, 11, 18]
    assert {(table, key["id"]) for table, key, _ in items} == {("accounts", "a")}
    assert len({tuple(vector.items()) for vector in vectors}) == len(vectors)
    assert {5, 11, 18} <= set(totals)


@pytest.mark.parametrize("which", ["item", "replica"])
def test_a_broken_invariant_is_a_violation_with_the_users_words(which: str) -> None:
    """The assertion's own message is what the user needs first."""

    def item(_table: str, _key: object, value: dict[str, Any] | None) -> None:
        assert value is None or value["balance"] < 10, "too rich"

    def replica(_vector: object, tables: Any) -> None:
        assert all(each["balance"] < 10 for each in tables.get("accounts", ())), "too rich"

    chosen = Invariants(item=item) if which == "item" else Invariants(replica=replica)
    world = World(RULES, invariants=chosen, tell=True)
    publish(world, of("Paid", "a", 5), of("Paid", "a", 6))
    with pytest.raises(Violation) as caught:
        world.settle()
    assert caught.value.law == "your invariant"
    assert caught.value.differences[0].startswith("too rich")
    assert "world.settle()" in caught.value.test


@pytest.mark.parametrize(
    "wrong",
    [
        lambda world: world.call(0, "vanish"),
        lambda world: world.publish(3, []),
        lambda world: world.consume(2),
        lambda world: world.noop(3),
        lambda world: world.damage(-1, 0),
        lambda world: world.overtake(0, "nobody"),
        lambda world: world.overtake(0, "zombie", "night"),
    ],
)
def test_refuses_what_is_not_in_the_world(wrong: Any) -> None:
    """A typing mistake must not be a quiet run."""
    with pytest.raises(RefusedError):
        wrong(World())
