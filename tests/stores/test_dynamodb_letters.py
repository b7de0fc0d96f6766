"""Dead letters in a DynamoDB store: their order among the writes, their rows, and what faults leave."""

from __future__ import annotations

from collections import deque

import pytest

from appliers.item import Row, Write
from appliers.letters import DeadLetter
from appliers.stores.dynamodb_letters import item_sk, letter_items, place_sk
from appliers.stores.dynamodb_writes import condition_of
from binlog.errors import RefusedError
from binlog.values import encode_item
from tests.contracts.dynamodb_places import store_on
from tests.contracts.letters_contract import letter, parked
from tests.contracts.store_contract import checkpoint, content, key, put
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import CONTROL, begin

SK_BYTES_MAX = 1_024


def order_of(double: DynamoDBDouble) -> list[str]:
    """What was written, a word each: letter, gone (a letter), item, at (a checkpoint)."""
    kinds = []
    for operation, request in double.calls:
        if operation == "batch_write_item":
            requests = request["RequestItems"].get(CONTROL, ())
            kinds += ["letter" if "PutRequest" in each else "gone" for each in requests]
        elif operation == "put_item" and request["TableName"] != CONTROL:
            kinds.append("item")
        elif operation == "batch_execute_statement":
            kinds += ["item"] * len(request["Statements"])
        elif operation == "put_item" and request["Item"]["pk"]["S"].startswith("at#"):
            kinds.append("at")
    return kinds


def test_letters_then_marks_then_checkpoints_and_what_is_settled_after_the_item() -> None:
    """In any other order a crash between two leaves a mark whose events nobody has."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    double.calls.clear()
    mark, place = parked("a", 1, 2, 1), checkpoint(0, 2)
    store.commit(generation, [mark], [place], letters=[letter("a", 2)])
    assert order_of(double) == ["letter", "item", "at"]
    double.calls.clear()
    back = Write("orders", key("a"), put("a", 2).row, 1, 2)
    store.commit(generation, [back], [checkpoint(0, 3)], settled=[letter("a", 2).place])
    assert order_of(double) == ["item", "gone", "at"]
    store.close()


@pytest.mark.parametrize("fault", ["throttle", "lose reply", "failure, done", "unreached"])
def test_a_letter_without_a_reply_is_written_again(fault: str) -> None:
    """The same however often: nothing is taken for an outcome that no reply says."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    double.faults["batch_write_item"] = deque([fault, fault])  # type: ignore[list-item]
    letters = [letter("a", version) for version in range(2, 40)]
    store.commit(generation, [parked("a", 1, 39, 1)], [checkpoint(0, 39)], letters=letters)
    assert list(store.letters()) == letters
    store.close()


def test_a_crash_at_any_call_leaves_no_mark_without_its_letters() -> None:
    """Whoever comes next parks the same again, or finds it done."""
    met = 0
    for place in range(10):
        double = DynamoDBDouble()
        store, generation = begin(double)
        store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
        letters = [letter("a", 2, event=b"x" * 900_000), letter("a", 3)]
        split = {"put_item": place // 2, "batch_write_item": place - place // 2}
        for operation, count in split.items():
            double.faults[operation] = deque([*[None] * count, "refuse"])
        try:
            store.commit(generation, [parked("a", 1, 3, 1)], [checkpoint(0, 3)], letters=letters)
        except RefusedError:
            met += 1
        double.faults.clear()
        store.close()
        again = store_on(double)
        [row] = again.read(generation, "orders", [key("a")]).values()
        if row.parked:
            assert list(again.letters()) == letters, place
        else:
            assert again.commit(generation, [parked("a", 1, 3, 1)], [], letters=letters) == []
        standing = again.checkpoints(generation)[0]
        if standing.sequence == 1:
            again.commit(generation, [], [checkpoint(0, 3)])
        assert list(again.letters()) == letters
        assert content(again) == {key("a"): Row(1, 0, put("a", 1).row.data, True, 3)}
        again.close()
    assert met > 3


def test_range_keys_sort_by_key_and_version_and_are_short_enough() -> None:
    """DynamoDB sorts them as bytes; the longest key and table name have to fit."""
    table = "t" * 255
    keys = [encode_item({"id": name}) for name in ("a", "b", "x" * 2_000, "x" * 2_001)]
    places = [
        DeadLetter(table, 99, k, version, alone, "i", "T", "", b"").place
        for k in keys
        for alone in (False, True)
        for version in (9, 10, (7 << 48) + 1)
    ]
    found = [place_sk(place) for place in places]
    assert len(set(found)) == len(found)
    assert max(len(sk.encode()) for sk in found) + 3 <= SK_BYTES_MAX
    assert all(
        sk.startswith(item_sk(table, (99, p[2]))) for sk, p in zip(found, places, strict=True)
    )
    assert found[:6] == sorted(found[:6])
    assert found[5] < found[6]


def test_a_large_event_is_cut_and_its_first_row_tells_of_the_others() -> None:
    items = letter_items("g", letter("a", 2, event=b"x" * 900_000))
    assert [len(item["event"]["B"]) for item in items] == [389_120, 389_120, 121_760]
    assert ["chunks" in item for item in items] == [True, False, False]


def test_the_condition_of_a_mark_names_version_tail_and_partition() -> None:
    write = Write("orders", key("a"), Row(5, 3, None, parked=True, tail=9), 5, 7)
    condition = condition_of(write, "id")
    assert condition["ConditionExpression"] == (
        "#b.#v = :base AND #b.#p = :p AND #b.#k = :true AND #b.#t = :tail"
    )
    values = condition["ExpressionAttributeValues"]
    assert (values[":base"], values[":tail"], values[":p"]) == ({"N": "5"}, {"N": "7"}, {"N": "3"})
