"""New items go as statements, 25 a call, and nothing is lost, guessed or paid for twice by that."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from appliers.item import Row, Write
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_births import Births
from appliers.stores.dynamodb_items import Keys
from appliers.stores.dynamodb_statements import Birth, batches_of, birth_of
from appliers.stores.dynamodb_tables_spec import KeySchema
from binlog.errors import ConflictError, LostError, SpentError, StorageError
from binlog.values import encode_item
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, content, fold, key, put, row
from tests.stores.dynamodb_double import DynamoDBDouble, Kind
from tests.stores.dynamodb_story import ORDERS, begin, stored

STATEMENTS = "batch_execute_statement"
NAMES = [f"k{number:03d}" for number in range(60)]


@pytest.fixture
def double() -> DynamoDBDouble:
    return DynamoDBDouble()


@pytest.fixture
def begun(double: DynamoDBDouble) -> Iterator[tuple[DynamoDBStore, str]]:
    """A table of this handle's own, with one item."""
    store, generation = begin(double)
    store.commit(generation, [put("old", 1)], [checkpoint(0, 1)])
    double.calls.clear()
    double.counts.clear()
    yield store, generation
    store.close()


def births(version: int = 5) -> list[Write]:
    return [put(name, version) for name in NAMES]


def item_puts(double: DynamoDBDouble) -> int:
    return sum(
        operation == "put_item" and request["TableName"] == ORDERS
        for operation, request in double.calls
    )


def expected(version: int = 5) -> dict[bytes, Row]:
    return {key("old"): row("old", 1)} | {key(name): row(name, version) for name in NAMES}


def test_new_items_go_25_a_call_at_the_units_of_puts(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    store, generation = begun
    before = store.units.write
    assert store.commit(generation, births(), [checkpoint(0, 5)]) == []
    assert double.counts[STATEMENTS] == 3
    assert item_puts(double) == 0
    assert store.units.write - before == 60 + 2  # the number of the commit, and the checkpoint
    assert content(store) == expected()


def test_what_is_not_known_to_be_new_is_put_and_costs_nothing_twice(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """An INSERT of what is there is refused, and its unit is paid for all the same."""
    store, generation = begun
    store.commit(generation, births(), [])
    before = store.units.write
    store.commit(generation, births(6), [])
    assert double.counts[STATEMENTS] == 3, "of the first commit"
    assert item_puts(double) == 60
    assert store.units.write - before == 60 + 2
    store.close()
    again = store_on(double)  # does not know what is there
    new = [put(f"n{number}", 7) for number in range(30)]
    assert again.commit(generation, new, []) == []
    assert double.counts[STATEMENTS] == 3
    # But for what a fold has just found absent.
    folds = [fold(f"m{number}", 8, 0) for number in range(30)]
    assert again.commit(generation, folds, []) == []
    assert double.counts[STATEMENTS] == 5
    again.close()


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "kind",
    [
        *("throttle", "unreached", "lose request", "lose reply"),
        *("late", "failure", "failure, done", "partly"),
    ],
)
@pytest.mark.parametrize("base", [None, 0])
def test_whatever_becomes_of_a_call_each_item_is_written_once(
    double: DynamoDBDouble,
    begun: tuple[DynamoDBStore, str],
    place: int,
    kind: Kind,
    base: int | None,
) -> None:
    store, generation = begun
    double.faults[STATEMENTS] = deque([*[None] * place, kind])
    writes = births() if base is None else [fold(name, 5, 0) for name in NAMES]
    assert store.commit(generation, writes, [checkpoint(0, 5)]) == []
    assert content(store) == expected()
    newer = [put(name, 6) for name in NAMES]
    assert store.commit(generation, newer, [checkpoint(0, 6)]) == []
    for land in double.under_way:
        land()
    assert content(store) == expected(6)


def test_only_what_was_throttled_is_made_again(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """Made again, the others would be refused, and paid for."""
    store, generation = begun
    refused = {"k003", "k017"}

    def verdict(item: dict[str, Any]) -> str | None:
        if item["id"]["S"] in refused:
            refused.discard(item["id"]["S"])
            return (
                "ThrottlingError" if item["id"]["S"] == "k003" else "ProvisionedThroughputExceeded"
            )
        return None

    double.verdict = verdict
    before = store.units.write
    assert store.commit(generation, births()[:25], []) == []
    sizes = [len(r["Statements"]) for operation, r in double.calls if operation == STATEMENTS]
    assert sizes == [25, 2]
    assert (store.units.throttled, item_puts(double)) == (1, 0)
    assert store.units.write - before == 25 + 2
    assert double.together <= 4


@pytest.mark.parametrize("hands_over_old", [True, False])
def test_a_lost_reply_is_read_again_and_is_no_conflict(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], *, hands_over_old: bool
) -> None:
    """Found as it was written: one read for 25, and no write more."""
    store, generation = begun
    double.hands_over_old = hands_over_old
    double.faults[STATEMENTS] = deque(["lose reply"])
    folds = [fold(name, 5, 0) for name in NAMES]
    assert store.commit(generation, folds, [checkpoint(0, 5)]) == []
    assert double.counts["batch_get_item"] == 1
    assert item_puts(double) == 0
    assert content(store) == expected()


@pytest.mark.parametrize("hands_over_old", [True, False])
@pytest.mark.parametrize("base", [None, 0])
def test_what_lands_after_it_was_read_is_ours(
    double: DynamoDBDouble,
    begun: tuple[DynamoDBStore, str],
    base: int | None,
    *,
    hands_over_old: bool,
) -> None:
    """Between the read and the put, whose condition then fails on our own items."""
    store, generation = begun
    double.hands_over_old = hands_over_old
    double.faults[STATEMENTS] = deque(["late"])

    def land(_: dict[str, Any]) -> None:
        while double.under_way:
            double.under_way.pop()()

    double.after["batch_get_item"] = land
    writes = [put(name, 5) if base is None else fold(name, 5, 0) for name in NAMES[:20]]
    assert store.commit(generation, writes, [checkpoint(0, 5)]) == []
    assert item_puts(double) == 20


def test_who_was_there_first_is_a_conflict_for_a_fold_and_older_for_a_put(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """Per statement: of 25, the one that fails is told, and the others are durable."""
    store, generation = begun

    def other(name: str, version: int) -> None:
        item = stored(double)["old"] | {"id": {"S": name}}
        double.put(ORDERS, item | {"_binlog": {"M": {"v": {"N": str(version)}, "p": {"N": "0"}}}})

    other("k003", 4)
    other("k007", 9)
    writes = [fold(name, 5, 0) if name in {"k003", "k004"} else put(name, 5) for name in NAMES]
    lost = store.commit(generation, writes, [checkpoint(0, 5)])
    assert lost == [writes[3], writes[7]], "a fold on an absent item, and a put under a newer one"
    assert stored(double)["k007"]["_binlog"]["M"]["v"] == {"N": "9"}
    assert len(stored(double)) == 61
    assert store.checkpoints(generation)[0].applied == 1
    # One that is met teaches that somebody else writes here: no blind put is bet on any more.
    made = double.counts[STATEMENTS]
    store.commit(generation, [put(f"n{number}", 6) for number in range(30)], [])
    assert double.counts[STATEMENTS] == made


def test_a_conflict_after_a_lost_request_is_a_conflict(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    store, generation = begun
    double.faults[STATEMENTS] = deque(["lose request"])

    def overtaken(_: dict[str, Any]) -> None:
        item = stored(double)["old"] | {"id": {"S": "k003"}}
        double.put(ORDERS, item | {"_binlog": {"M": {"v": {"N": "9"}, "p": {"N": "0"}}}})

    double.after["batch_get_item"] = overtaken
    writes = births()[:20]
    assert store.commit(generation, writes, [checkpoint(0, 5)]) == [writes[3]]
    assert stored(double)["k003"]["_binlog"]["M"]["v"] == {"N": "9"}


def test_an_item_of_somebody_else_is_never_written_over(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    store, generation = begun
    theirs = {"id": {"S": "k003"}, "mine": {"N": "1"}}
    double.put(ORDERS, theirs)
    with pytest.raises(ConflictError, match=r'orders .*"k003".*binlog adopt'):
        store.commit(generation, births(), [checkpoint(0, 5)])
    assert stored(double)["k003"] == theirs
    assert store.checkpoints(generation)[0].applied == 1


@pytest.mark.parametrize("code", ["ValidationError", "TransactionConflict", "InternalServerError"])
def test_a_statement_that_is_refused_for_another_reason_is_put(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], code: str
) -> None:
    """What PartiQL has against an item, PutItem may not have."""
    store, generation = begun
    double.verdict = lambda item: code if item["id"]["S"] == "k003" else None
    assert store.commit(generation, births(), [checkpoint(0, 5)]) == []
    assert item_puts(double) == 1
    assert content(store) == expected()


def test_a_server_s_error_of_one_statement_says_nothing_about_it(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    """It was done all the same: our own item is no conflict."""
    store, generation = begun

    def verdict(item: dict[str, Any]) -> str | None:
        if item["id"]["S"] != "k003":
            return None
        double.put(ORDERS, item)
        return "InternalServerError"

    double.verdict = verdict
    folds = [fold(name, 5, 0) for name in NAMES]
    assert store.commit(generation, folds, [checkpoint(0, 5)]) == []
    assert content(store) == expected()


@pytest.mark.parametrize("whole", [True, False])
def test_who_may_not_make_statements_puts_from_then_on(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str], *, whole: bool
) -> None:
    """A policy from before statements were made goes on working."""
    store, generation = begun
    if whole:
        double.weather = lambda operation: "refuse" if operation == STATEMENTS else None
    else:
        double.verdict = lambda _: "AccessDenied"
    assert store.commit(generation, births(), [checkpoint(0, 5)]) == []
    assert double.counts[STATEMENTS] == 3
    more = [put(f"n{number}", 6) for number in range(30)]
    assert store.commit(generation, more, [checkpoint(0, 6)]) == []
    assert double.counts[STATEMENTS] == 3
    assert len(content(store)) == 91


def test_who_is_never_served_is_told_and_nothing_moved(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    store, generation = begun
    double.verdict = lambda _: "ThrottlingError"
    with pytest.raises(StorageError, match="throttled"):
        store.commit(generation, births(), [checkpoint(0, 5)])
    assert store.checkpoints(generation)[0].applied == 1
    double.verdict = lambda _: None
    assert store.commit(generation, births(), [checkpoint(0, 5)]) == []
    assert content(store) == expected()


def test_a_table_that_is_gone_is_lost(
    double: DynamoDBDouble, begun: tuple[DynamoDBStore, str]
) -> None:
    store, generation = begun
    double.delete_table(TableName=ORDERS)
    double.clock.advance(60_000)
    with pytest.raises(LostError, match="orders"):
        store.commit(generation, births(), [checkpoint(0, 5)])


def test_units_that_are_left_bound_what_is_under_way(double: DynamoDBDouble) -> None:
    """However many go in a call: where the limit is near, each by itself."""
    store, generation = begin(double, width=4)
    store.write_units_max = store.units.write + 100
    store.commit(generation, births(), [])
    assert double.counts[STATEMENTS] == 3
    store.write_units_max = store.units.write + 30
    with pytest.raises(SpentError):
        store.commit(generation, [put(f"n{n}", 6) for n in range(60)], [checkpoint(0, 6)])
    assert 80 <= len(stored(double)) <= 90 + 4
    store.close()


# -- what is said as a statement -------------------------------------------------------------------

PLACE = Keys("orders", ORDERS, KeySchema(("id", "S")))


def birth(item: dict[str, Any]) -> Birth | None:
    return birth_of(Write("orders", key("a"), Row(1, 0, encode_item(item)), None), PLACE)


@pytest.mark.parametrize("name", ["it's", 'say "x"', "back\\slash", "what?", "new\nline", "\x00"])
def test_a_name_that_would_need_escaping_is_not_said(name: str) -> None:
    """So no rule of escaping has to be believed, and no item can say anything but itself."""
    assert birth({"id": "a", name: 1}) is None


@pytest.mark.parametrize("name", ["größe", "a b", "{x}", "a.b", "--", "VALUE", "a': 1, 'b"[:1]])
def test_other_names_are_said_as_they_are(name: str) -> None:
    said = birth({"id": "a", name: 1})
    assert said is not None
    assert f"'{name}': ?" in said.statement["Statement"]


def test_large_items_and_long_statements_go_by_themselves() -> None:
    assert birth({"id": "a", "text": "x" * 70_000}) is None
    assert birth({"id": "a"} | {f"attribute-{n:04d}": 1 for n in range(500)}) is None


def test_a_batch_keeps_every_limit_of_a_call() -> None:
    random = Random(5)
    made: list[Birth] = []
    for _ in range(300):
        size = 60_000 if len(made) < 100 else random.choice([10, 900, 3_000])
        one = birth({"id": "a", "text": "x" * size})
        assert one is not None
        made.append(one)
    batches = batches_of(made)
    assert [each for batch in batches for each in batch] == made
    for batch in batches:
        assert len(batch) <= 25
        assert sum(each.size for each in batch) <= 1_000_000
    assert any(len(batch) == 25 for batch in batches)
    assert any(len(batch) < 25 for batch in batches[:-1])


# -- which keys are new ----------------------------------------------------------------------------


def test_a_key_is_new_once_and_only_in_a_table_that_began_here() -> None:
    known = Births()
    assert not known.first("t", b"a")
    known.begin("t")
    known.begin("u")
    assert known.first("t", b"a")
    assert not known.first("t", b"a")
    assert known.first("u", b"a")
    known.forget("t")
    assert not known.first("t", b"b")
    assert known.first("u", b"b")


def test_a_written_key_is_never_taken_for_new_and_hardly_any_other_way_round() -> None:
    known = Births()
    known.begin("t")
    keys = [str(number).encode() for number in range(50_000)]
    new = sum(known.first("t", each) for each in keys)
    assert new > 49_900
    assert not any(known.first("t", each) for each in keys)


def test_deletes_of_what_never_was_are_new_items_too(double: DynamoDBDouble) -> None:
    store = store_on(double)
    store.bind(GENESIS)
    generation = store.create(tables=None, fingerprint="f", excluded=()).id
    gone = [put(name, 5, gone=True) for name in NAMES]
    assert store.commit(generation, gone, [checkpoint(0, 5)]) == []
    assert double.counts[STATEMENTS] == 3
    assert {r.data for r in content(store).values()} == {None}
    store.close()
