"""A consumer in bad weather: any fault at any call, attempts that land late, and other writers.

The consumer does what the engine does: reads, folds, commits, and reads again what failed; after an
error it starts over at what the store holds. The judge is the list of events: at the end each item
holds all of its events in order, whatever became of any call.
"""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from appliers.item import Row, Write
from appliers.stores.dynamodb import DynamoDBStore
from binlog.errors import BinlogError, BusyError, LostError
from binlog.values import decode_value, encode_item
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, key
from tests.stores.dynamodb_double import DynamoDBDouble, Kind

KINDS: tuple[Kind, ...] = (
    "throttle",
    "unreached",
    "lose request",
    "lose reply",
    "late",
    "late",
    "failure",
    "failure, done",
)
BATCHES: tuple[Kind, ...] = ("partly", "partly")
CALLS = {
    *("put_item", "get_item", "query", "scan"),
    *("batch_get_item", "batch_write_item", "batch_execute_statement"),
}
NAMES = "abcdef"
FIRST = Row(1, 0, encode_item({"id": "a", "seen": [1]}))


class Weather:
    """Faults by chance, and late attempts that land by chance, also long after."""

    def __init__(self, random: Random, double: DynamoDBDouble) -> None:
        self.random = random
        self.double = double
        self.rate = 0.0

    def __call__(self, operation: str) -> Kind | None:
        late = self.double.under_way
        if late and self.random.random() < 0.2:
            late.pop(self.random.randrange(len(late)))()
        if self.random.random() >= self.rate:
            return None
        if operation not in CALLS:
            return None  # the SDK repeats it
        return self.random.choice((*KINDS, *BATCHES) if operation.startswith("batch") else KINDS)


class Consumer:
    """Applies events 1, 2, 3, ... of one partition; event n appends n to one item's list."""

    def __init__(self, store: DynamoDBStore, events: list[str]) -> None:
        self.store = store
        self.events = events

    def step(self, generation: str, random: Random) -> bool:
        """One batch; whether there was one."""
        at = self.store.checkpoints(generation).get(0)
        begin = at.applied if at else 0
        end = min(begin + random.randrange(1, 6), len(self.events))
        if begin == end:
            return False
        for _ in range(8):
            failed = self.store.commit(
                generation, self.folded(generation, begin, end), [checkpoint(0, end)]
            )
            if not failed:
                return True
        raise AssertionError("always failing")

    def folded(self, generation: str, begin: int, end: int) -> list[Write]:
        names = sorted(set(self.events[begin:end]))
        rows = self.store.read(generation, "orders", [key(name) for name in names])
        writes = []
        for name in names:
            row = rows.get(key(name))
            base = row.version if row else 0
            seen = list(decode_value(row.data)["seen"]) if row and row.data else []
            mine = [n for n in range(begin + 1, end + 1) if self.events[n - 1] == name and n > base]
            if mine:
                item = encode_item({"id": name, "seen": seen + mine})
                writes.append(Write("orders", key(name), Row(mine[-1], 0, item), base))
        return writes


def wanted(events: list[str]) -> dict[bytes, list[int]]:
    return {
        key(name): [n for n, each in enumerate(events, 1) if each == name]
        for name in sorted(set(events))
    }


@pytest.mark.parametrize("seed", range(15))
def test_every_event_is_applied_once_whatever_becomes_of_the_calls(seed: int) -> None:
    """Nothing lost, nothing twice, nothing brought back by what lands late."""
    random = Random(seed)
    double = DynamoDBDouble()
    weather = Weather(random, double)
    stores = [store_on(double, width=1, patience_s=20.0, random=random) for _ in range(2)]
    stores[0].bind(GENESIS)
    events = ["a", *(random.choice(NAMES) for _ in range(60))]
    generation = stores[0].create(tables=None, fingerprint="f", excluded=()).id
    # The tables are there: what makes them goes by a client that repeats its calls itself.
    stores[0].commit(generation, [Write("orders", key("a"), FIRST, 0)], [])
    consumers = [Consumer(store, events) for store in stores]
    double.weather = weather
    weather.rate = 0.25
    errors: list[str] = []
    for _ in range(400):
        consumer = random.choice(consumers)
        if random.random() < 0.1:  # paused for long: the other one takes over
            double.clock.advance(40_000)
        if random.random() < 0.05:
            consumer.store.close()
        try:
            if not consumer.step(generation, random):
                break
        except BusyError:
            continue  # the other one holds the lock
        except BinlogError as error:
            errors.append(type(error).__name__)
    weather.rate = 0.0
    stores[0].close()
    stores[1].lock()
    is_left = True
    while is_left:
        try:
            is_left = consumers[1].step(generation, random)
        except LostError as error:  # a late row has landed, rightly: its items were there
            errors.append(type(error).__name__)
    for land in double.under_way:
        land()
    double.under_way.clear()
    assert seen(stores[1]) == wanted(events), errors
    at = stores[1].checkpoints(generation)[0]
    assert at.applied == len(events)
    for store in stores:
        store.close()


def seen(store: DynamoDBStore) -> dict[bytes, Any]:
    return {k: list(decode_value(row.data or b"")["seen"]) for k, row in store.scan("orders")}


@pytest.mark.parametrize("seed", range(6))
def test_a_build_in_bad_weather_is_whole_or_not_there(seed: int) -> None:
    """Batches lost, late and half done; after the switch nothing that lands changes anything."""
    random = Random(seed)
    double = DynamoDBDouble()
    weather = Weather(random, double)
    store = store_on(double, width=1, patience_s=20.0, random=random, landing_s=60.0)
    store.bind(GENESIS)
    rows = {
        key(name): Row(n, 0, encode_item({"id": name, "seen": [n]}))
        for n, name in enumerate((f"k{n}" for n in range(120)), 1)
    }
    for _ in range(20):
        weather.rate = 0.0
        build = store.build(tables=None, fingerprint="f", excluded=())
        weather.rate = 0.3
        try:
            build.load("orders", rows.items())
            # What is under way lands while the switch waits for it, as is assumed.
            for land in double.under_way:
                land()
            double.under_way.clear()
            build.finish({0: checkpoint(0, 120)}, tables=[])
        except BinlogError:
            weather.rate = 0.0
            if any(each.id == build.generation for each in store.generations()):
                break  # live, and what follows the switch is left to the next writer
            assert store.generations() == []
            build.abandon()
        else:
            break
    else:
        raise AssertionError("never done")
    weather.rate = 0.0
    assert dict(store.scan("orders")) == rows
    newer = Row(500, 0, encode_item({"id": "k7", "seen": [500]}))
    assert store.commit(build.generation, [Write("orders", key("k7"), newer, None)], []) == []
    for land in double.under_way:
        land()
    assert dict(store.scan("orders")) == rows | {key("k7"): newer}
    assert store.checkpoints(build.generation) == {0: checkpoint(0, 120)}
    store.close()
