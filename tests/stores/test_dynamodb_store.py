"""What a store in DynamoDB does beside the contract: items, keys, tables, locks, units."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import wait
from decimal import Decimal, localcontext
from typing import Any

import pytest

from appliers.address import open_store
from appliers.item import Row, Write
from appliers.stores import dynamodb_calls, dynamodb_lease, sorted_runs
from appliers.stores.dynamodb_calls import WIDTH
from appliers.stores.dynamodb_lease import identity, is_gone
from binlog.errors import (
    BusyError,
    ConflictError,
    DamageError,
    MismatchError,
    PoisonError,
    RefusedError,
    SpentError,
)
from binlog.foreign import Foreign
from binlog.values import encode_item, encode_value
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import (
    GENESIS,
    OTHER_LOG,
    checkpoint,
    content,
    fold,
    key,
    put,
    row,
)
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import CONTROL, ORDERS, begin, stored
from tests.waits import patience


@pytest.fixture
def double() -> DynamoDBDouble:
    return DynamoDBDouble()


# -- items ---------------------------------------------------------------------------------------


def test_an_item_is_its_own_attributes_and_one_more(double: DynamoDBDouble) -> None:
    """Applications read it as it is; what the store keeps is in one reserved map."""
    store, generation = begin(double)
    store.commit(
        generation,
        [
            put("a", 5, partition=3),
            Write("orders", key("b"), Row(6, 1, None, parked=True, tail=9), None),
        ],
        [],
    )
    assert stored(double) == {
        "a": {
            "id": {"S": "a"},
            "at": {"N": "5"},
            "_binlog": {"M": {"v": {"N": "5"}, "p": {"N": "3"}}},
        },
        "b": {
            "id": {"S": "b"},
            "_binlog": {
                "M": {
                    "v": {"N": "6"},
                    "p": {"N": "1"},
                    "d": {"BOOL": True},
                    "k": {"BOOL": True},
                    "t": {"N": "9"},
                }
            },
        },
    }
    store.close()


def test_numbers_keep_38_digits_whatever_the_decimal_context(double: DynamoDBDouble) -> None:
    """boto3's own conversion raises beyond its context, and a float loses digits silently."""
    store, generation = begin(double)
    numbers = [
        Decimal("0.12345678901234567890123456789012345678"),
        10**37 + 1,
        -(10**125),
        Decimal("1E-130"),
        Decimal("-9.9999999999999999999999999999999999999E+125"),
    ]
    item = encode_item({"id": "n", "n": numbers, "s": frozenset(numbers)})
    with localcontext() as context:
        context.prec = 3
        store.commit(generation, [Write("orders", key("n"), Row(1, 0, item), 0)], [])
        assert content(store)[key("n")].data == item
    store.close()


UNHOLDABLE = {
    "boolean": {"id": True},
    "null": {"id": None},
    "map": {"id": {"a": 1}},
    "list": {"id": [1]},
    "set": {"id": frozenset({1})},
    "is empty": {"id": ""},
    "has 2049 bytes, the limit is 2048": {"id": "é" * 1024 + "x"},
    "one or two attributes": {"a": 1, "b": 2, "c": 3},
}


@pytest.mark.parametrize("says", UNHOLDABLE)
@pytest.mark.parametrize("is_known", [False, True])
def test_a_key_that_dynamodb_cannot_hold_is_poison(
    double: DynamoDBDouble, says: str, is_known: bool
) -> None:
    """The same event fails at every replay, so it is named with what passes it; nothing is written."""
    store, generation = begin(double)
    if is_known:
        store.commit(generation, [put("a", 1)], [])
    encoded = encode_value(UNHOLDABLE[says], outer=1)
    write = Write("orders", encoded, Row(7, 2, encoded), None)
    with pytest.raises(PoisonError, match=says) as caught:
        store.commit(generation, [put("b", 2), write], [checkpoint(0, 2)])
    error = caught.value
    named = [error.details[name] for name in ("table", "partition", "offset")]
    assert named == ["orders", 2, 7]
    assert "--exclude" in error.do
    assert key("b") not in content(store)
    store.close()


def test_a_key_attributes_name_that_no_table_can_have_is_poison(double: DynamoDBDouble) -> None:
    """Names of 256 bytes and more pass everywhere else; the service would refuse the table."""
    store, generation = begin(double)
    encoded = encode_value({"n" * 256: "a"})
    write = Write("orders", encoded, Row(7, 2, encoded), None)
    with pytest.raises(PoisonError, match="name has 256 bytes, the limit is 255"):
        store.commit(generation, [write], [])
    store.close()


def test_a_key_of_another_type_or_name_than_the_tables_is_poison(double: DynamoDBDouble) -> None:
    """A table has one key schema for ever, taken from its first item or declared."""
    store, generation = begin(double)
    number, binary = encode_item({"id": 5}), encode_item({"other": "a"})
    for encoded in (number, binary):
        batch = [put("a", 2), Write("orders", encoded, Row(2, 0, encoded), None)]
        with pytest.raises(PoisonError, match="id"):
            store.commit(generation, batch, [])
    pair = encode_item({"b": b"x", "r": "text"})
    with pytest.raises(PoisonError, match=r"'r' is not a number"):
        store.commit(generation, [Write("pairs", pair, Row(2, 0, pair), None)], [])
    wide = encode_item({"b": b"x", "r": 5, "more": 1})
    assert store.generations()[0].tables == ()
    with pytest.raises(PoisonError):
        store.commit(generation, [Write("pairs", wide, Row(2, 0, wide), None)], [])
    store.close()


def test_two_key_attributes_and_no_declaration_are_refused_before_anything_is_written(
    double: DynamoDBDouble,
) -> None:
    """Which one is the hash key nobody can change later; the message says what to write."""
    store, generation = begin(double)
    pair = encode_item({"customer": "c", "number": 1})
    with pytest.raises(RefusedError, match=r"tables\.bills"):
        store.commit(generation, [put("a", 1), Write("bills", pair, Row(1, 0, pair), None)], [])
    assert store.generations()[0].tables == ()
    assert content(store) == {}
    store.close()


def test_what_the_service_refuses_of_an_item_is_named(double: DynamoDBDouble) -> None:
    """Nested deeper than it takes: 31 containers below an attribute, measured at the stand-in."""
    store, generation = begin(double)
    deep: Any = 1
    for _ in range(31):
        deep = [deep]
    fits = encode_item({"id": "a", "deep": deep})
    beyond = msgpack_of({"id": "b", "deep": [deep]})
    assert store.commit(generation, [Write("orders", key("a"), Row(1, 0, fits), None)], []) == []
    with pytest.raises(PoisonError, match=r"orders.*Nesting"):
        store.commit(generation, [Write("orders", key("b"), Row(2, 0, beyond), None)], [])
    build = store.build(tables=None, fingerprint="", excluded=())
    with pytest.raises(PoisonError, match=r"\"b\".*Nesting"):
        build.load("orders", [(key("a"), Row(1, 0, fits)), (key("b"), Row(2, 0, beyond))])
    build.abandon()
    store.close()


def msgpack_of(item: dict[str, Any]) -> bytes:
    import msgspec

    return msgspec.msgpack.encode(item, order="deterministic")


def test_a_damaged_item_is_named_and_a_scan_goes_on_behind_it(double: DynamoDBDouble) -> None:
    """One item that somebody broke must not hide the others."""
    store, generation = begin(double)
    store.commit(generation, [put(name, 1) for name in "abcde"], [])
    broken = {"id": {"S": "c"}, "_binlog": {"M": {"v": {"S": "1"}, "p": {"N": "0"}}}}
    double.put(ORDERS, broken)
    double.put(ORDERS, {"id": {"S": "d"}})
    found: list[bytes] = []
    failed: list[bytes] = []
    after: bytes | None = None
    while True:
        try:
            for name, _ in store.scan("orders", after=after):
                found.append(name)
            break
        except DamageError as error:
            after = error.details["key"]  # type: ignore[assignment]
            failed.append(error.details["key"])  # type: ignore[arg-type]
    assert (found, failed) == ([key("a"), key("b"), key("e")], [key("c"), key("d")])
    store.close()


def test_a_scan_of_more_than_memory_is_sorted_in_files(
    double: DynamoDBDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables have no order that anybody could use, and digests are compared in key order."""
    monkeypatch.setattr(
        sorted_runs.SortedRuns.__init__, "__kwdefaults__", {"run_bytes": 2_000, "folder": None}
    )
    store, generation = begin(double)
    names = [f"k{number}" for number in range(200)]
    store.commit(generation, [put(name, 1) for name in names], [])
    assert list(content(store)) == sorted(map(key, names))
    store.close()


# -- tables --------------------------------------------------------------------------------------


def test_a_table_that_holds_something_is_not_taken(double: DynamoDBDouble) -> None:
    """Items of somebody, or of a store whose control table was deleted, would pass for ours."""
    for item, says in (
        ({"id": {"S": "x"}}, "binlog adopt"),
        ({"id": {"S": "x"}, "_binlog": {"M": {}}}, "not there any more"),
    ):
        store, generation = begin(double := DynamoDBDouble())
        store.commit(generation, [put("a", 1)], [])
        spec = double.tables[ORDERS]
        double.tables.pop(CONTROL)
        double._items.pop(CONTROL)
        store.close()
        double.put(ORDERS, item)
        double.wipe(ORDERS, {"id": {"S": "a"}})
        assert spec is double.tables[ORDERS]
        again, generation = begin(double)
        with pytest.raises(ConflictError, match=says):
            again.commit(generation, [put("a", 1)], [])
        assert list(stored(double)) == ["x"]
        again.close()


def test_a_rebuild_gives_tables_other_names_and_removes_the_old_ones(
    double: DynamoDBDouble,
) -> None:
    """The plain name is given out once in a store's life: a zombie may still know it."""
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [])
    seen = set(double.tables)
    for _ in range(2):
        build = store.build(tables=None, fingerprint="f", excluded=())
        build.load("orders", [(key("a"), row("a", 1))])
        assert set(double.tables) > {CONTROL}
        build.finish({}, tables=[])
        assert set(double.tables) == {CONTROL, f"{ORDERS}.{build.generation[:8]}"}
    store.build(tables=None, fingerprint="f", excluded=()).finish({}, tables=[])
    assert set(double.tables) == {CONTROL}
    made = store.generations()[0].id
    store.commit(made, [put("a", 1)], [])
    assert set(double.tables) == {CONTROL, f"{ORDERS}.{made[:8]}"}
    assert seen == {CONTROL, ORDERS}
    store.close()


def test_what_a_killed_build_left_the_next_one_removes(double: DynamoDBDouble) -> None:
    """Tables cost money for ever; its rows in the control table go, too."""
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    killed = store.build(tables=None, fingerprint="f", excluded=())
    killed.load("orders", [(key("a"), row("a", 1))])
    double.faults["put_item"] = deque([None, "refuse"])
    with pytest.raises(RefusedError):  # between the checkpoints and the switch
        killed.finish({0: checkpoint(0, 1), 1: checkpoint(1, 1)}, tables=[])
    assert len(double.tables) == 3
    store.close()
    again = store_on(double)
    again.bind(GENESIS)
    again.build(tables=["users"], fingerprint="f", excluded=()).abandon()
    assert set(double.tables) == {CONTROL, ORDERS}
    kinds = sorted(item["pk"]["S"].partition("#")[0] for item in double.items(CONTROL))
    assert kinds == ["at", "store", "store"]
    again.close()


def test_a_store_of_another_log_in_the_same_tables_is_refused(double: DynamoDBDouble) -> None:
    """Also where only the control table is there, without a catalog."""
    store = store_on(double)
    store.bind(GENESIS)
    store.build(tables=None, fingerprint="f", excluded=()).abandon()
    store.close()
    other = store_on(double)
    other.bind(OTHER_LOG)
    with pytest.raises(MismatchError, match="another log"):
        other.create(tables=None, fingerprint="f", excluded=())
    other.close()


# -- large content -------------------------------------------------------------------------------


def test_S7_foreign_records_are_kept_whole_and_once_until_they_are_relayed(
    double: DynamoDBDouble,
) -> None:
    """They may be larger than an item, and may be told as relayed before they are met."""
    store, generation = begin(double)
    records = [
        Foreign("s1", 5, "k", 17, b"five"),
        Foreign("s0", 10**55, "k", 17, os.urandom(1_000_000)),
        Foreign("s0", 9, "", 17, b""),
    ]
    for _ in range(2):
        store.commit(generation, [], [checkpoint(0, _ + 1)], foreign=records)
    assert list(store.foreign()) == [records[2], records[1], records[0]]
    store.commit(generation, [], [], relayed=[("s0", 10**55), ("s9", 1)])
    store.commit(generation, [], [], foreign=[records[1], Foreign("s9", 1, "", 0, b"late")])
    assert list(store.foreign()) == [records[2], records[0]]
    build = store.build(tables=None, fingerprint="f", excluded=())
    part = build.part()
    part.keep([Foreign("s2", 1, "", 0, b"new")], [("s0", 9)])
    part.close()
    build.adopt([part])
    build.finish({}, tables=[])
    assert [record.place for record in store.foreign()] == [("s1", 5), ("s2", 1)]
    store.close()


# -- locks and threads ---------------------------------------------------------------------------


def test_the_lock_of_a_process_that_is_gone_is_free_at_once(double: DynamoDBDouble) -> None:
    """On its own machine nobody has to wait for half a minute after a kill."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    known = identity(child.pid)
    assert known
    assert not is_gone(known)
    store, _ = begin(double)
    (lock,) = [item for item in double.items(CONTROL) if item["sk"] == {"S": "lock"}]
    double.put(CONTROL, lock | {"process": {"S": known}, "owner": {"S": "theirs"}})
    other = store_on(double)
    with pytest.raises(BusyError, match=r"in (2\d|30) s"):
        other.lock(wait_s=0)
    child.kill()
    child.communicate()
    assert is_gone(known)
    other.lock(wait_s=0)
    assert not is_gone("another-boot pid:[1] 5 5")
    for each in (store, other):
        each.close()


def test_a_writer_that_writes_nothing_keeps_its_lock(
    double: DynamoDBDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quiet log is no reason to let another replicator in."""
    monkeypatch.setattr(dynamodb_lease, "BEAT_S", 0.001)
    renewed = threading.Event()

    def look(request: dict[str, Any]) -> None:
        if request["Item"].get("sk") == {"S": "lock"}:
            renewed.set()

    store, _ = begin(double)
    double.clock.advance(25_000)
    double.after["put_item"] = look
    assert renewed.wait(patience(20))
    double.after.clear()
    double.clock.advance(25_000)
    other = store_on(double)
    with pytest.raises(BusyError):
        other.lock(wait_s=0)
    store.close()
    other.lock(wait_s=0)
    other.close()


def test_a_build_leaves_no_thread_that_would_keep_a_rebuild_from_forking(
    double: DynamoDBDouble,
) -> None:
    """With another thread about, a rebuild folds in one process; so its lock is a long one instead."""
    others = set(threading.enumerate())  # of stores of other tests

    def ours() -> set[threading.Thread]:
        new = set(threading.enumerate()) - others
        return {thread for thread in new if thread.name.startswith("dynamodb")}

    store, generation = begin(double)
    for version in (1, 2):  # the first time they are new, and go in one call
        writes = [put(name, version) for name in "abcdefgh"]
        store.commit(generation, writes, [checkpoint(0, version)])
    assert {thread.name.partition("_")[0] for thread in ours()} == {"dynamodb", "dynamodb-lock"}
    build = store.build(tables=None, fingerprint="f", excluded=())
    assert not ours()
    double.clock.advance(800_000)
    with pytest.raises(BusyError):
        store_on(double).lock(wait_s=0)
    build.load("orders", [(key("a"), row("a", 1))])
    build.finish({}, tables=[])
    store.close()
    assert not ours()


def test_calls_are_made_together_and_fewer_when_throttled(double: DynamoDBDouble) -> None:
    """As many as the service takes: none is lost, and none is made twice."""
    store, generation = begin(double, width=6)
    store.commit(generation, [put(f"k{n}", 1) for n in range(40)], [])
    gate = threading.Barrier(4)
    double.hooks["put_item"] = lambda request: (
        gate.wait(60) if request["TableName"] == ORDERS else None
    )
    store.commit(generation, [put(f"k{n}", 2) for n in range(4)], [])
    assert double.together >= 4
    double.hooks.clear()
    double.faults["put_item"] = deque([None, "throttle", "throttle", "throttle", "throttle"])
    assert store.commit(generation, [put(f"k{n}", 3) for n in range(40)], []) == []
    assert store.units.throttled == 4
    assert {row.version for row in content(store).values()} == {3}
    store.close()


def test_ctrl_c_waits_for_one_attempt_of_each_call_that_is_under_way(
    double: DynamoDBDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And not until the patience with a service that throttles, or does not answer, is over."""
    store, generation = begin(double, width=4)
    store.commit(generation, [put(f"k{n}", 1) for n in range(40)], [])
    arrived, go_on = threading.Semaphore(0), threading.Event()
    puts: list[object] = []

    def hold(request: dict[str, Any]) -> None:
        if request["TableName"] == ORDERS:
            puts.append(request)
            arrived.release()
            assert go_on.wait(60)

    def interrupted(futures: Any) -> Any:
        if not go_on.is_set():
            for _ in range(4):
                assert arrived.acquire(timeout=60)
            double.weather = lambda operation: "throttle" if operation == "put_item" else None
            monkeypatch.setattr(dynamodb_calls, "wait", released)
            raise KeyboardInterrupt
        raise AssertionError("waited for twice")

    def released(futures: Any) -> Any:
        go_on.set()
        return wait(futures)

    double.hooks["put_item"] = hold
    monkeypatch.setattr(dynamodb_calls, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.commit(generation, [put(f"k{n}", 2) for n in range(40)], [])
    assert len(puts) == 4
    double.weather = lambda _: None
    monkeypatch.undo()
    store.commit(generation, [put(f"k{n}", 3) for n in range(40)], [checkpoint(0, 3)])
    assert {row.version for row in content(store).values()} == {3}
    double.weather = lambda _: "lose request"
    before_s = double.clock.monotonic()
    store.close()
    assert double.clock.monotonic() - before_s < 10, "the lock ends by itself"


def test_units_are_counted_as_the_service_says_them(double: DynamoDBDouble) -> None:
    """Who pays wants to know before the bill."""
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [])
    before = store.units.write
    large = encode_item({"id": "b", "text": "x" * 3_000})
    store.commit(
        generation,
        [fold("a", 2, 1), Write("orders", key("b"), Row(1, 0, large), None)],
        [checkpoint(0, 2)],
    )
    # The number of the commit, an item of one unit and one of three, the checkpoint.
    assert store.units.write - before == 6
    store.close()


# -- addresses -----------------------------------------------------------------------------------


def test_a_name_shows_the_address_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages and logs hold names; roles and endpoints are nobody's business there."""
    for name in ("AWS_PROFILE", "AWS_ENDPOINT_URL_DYNAMODB"):
        monkeypatch.delenv(name, raising=False)
    address = (
        "dynamodb://shop?region=eu-west-1&endpoint=http://user-host:1"
        "&role=arn:aws:iam::123456789012:role/secret&external_id=hidden"
    )
    store = open_store(address)
    assert store.name == "dynamodb://shop"
    store.close()


def test_a_store_that_is_not_there_is_seen_and_makes_nothing(double: DynamoDBDouble) -> None:
    """Also with a control table that a build has just begun in, and no catalog in it."""
    store = store_on(double)
    seen = [store.exists]
    assert double.tables == {}
    store.bind(GENESIS)
    store.lock()
    assert double.tables == {}
    store.build(tables=None, fingerprint="f", excluded=()).abandon()
    seen.append(store.exists)
    store.create(tables=None, fingerprint="f", excluded=())
    seen.append(store.exists)
    assert seen == [False, False, True]
    store.close()


# -- units ---------------------------------------------------------------------------------------


def test_once_so_many_units_are_consumed_no_item_is_written(double: DynamoDBDouble) -> None:
    """What is there stays, behind it no checkpoint moves, and with more units it goes on."""
    store, generation = begin(double)
    writes = [put(f"k{number}", 1) for number in range(100)]
    store.write_units_max = store.units.write + 40
    with pytest.raises(SpentError, match=r"write units are consumed.*--max-units"):
        store.commit(generation, writes, [checkpoint(0, 1)])
    assert 30 <= len(stored(double)) <= 40 + WIDTH
    store.close()
    again = store_on(double)
    assert again.checkpoints(generation) == {}
    again.bind(GENESIS)
    failed = again.commit(generation, writes, [checkpoint(0, 1)])
    assert len(failed) >= 30, "they are there already, as whoever reads them again will see"
    assert len(stored(double)) == 100
    again.close()


def test_a_build_that_has_consumed_its_units_is_never_seen(double: DynamoDBDouble) -> None:
    store, _ = begin(double)
    build = store.build(tables=None, fingerprint="f", excluded=())
    before = store.generations()
    store.write_units_max = store.units.write + 100
    rows = [(key(f"k{number}"), row(f"k{number}", 1)) for number in range(1_000)]
    with pytest.raises(SpentError):
        build.load("orders", rows)
    build.abandon()
    assert store.generations() == before
    assert set(double.tables) == {CONTROL}
    store.close()
