"""A DynamoDB store read for a snapshot: what is going while it is read, and how much at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from appliers.letters import DeadLetter
from appliers.stores import dynamodb_survey
from appliers.survey import survey
from binlog.errors import ConflictError, DamageError, LostError
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import checkpoint, put
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import begin


def letter(offset: int) -> DeadLetter:
    return DeadLetter("orders", 0, b"key", offset, False, "id", "Paid", "", b"event")


def made(count: int = 60) -> DynamoDBDouble:
    """A store with so many orders."""
    double = DynamoDBDouble(page_items=1000)
    store, generation = begin(double)
    store.commit(generation, [put(f"k{n}", n + 1) for n in range(count)], [checkpoint(0, count)])
    store.close()
    return double


def test_a_letter_that_is_being_removed_is_read_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one in several rows the last ones go first; whoever reads it then sees half of it."""
    double = made()
    tries = 0

    def read(*_: Any) -> Iterator[DeadLetter]:
        nonlocal tries
        tries += 1
        yield letter(1)
        yield letter(2)
        if tries == 1:
            raise DamageError("a dead letter lacks a part", "store")
        yield letter(4)

    monkeypatch.setattr(dynamodb_survey, "read_letters", read)
    with survey(store_on(double)) as found:
        of_orders = [x.offset for x in found.letters() if tries <= 2]
    assert of_orders[:3] == [1, 2, 4], "each once"

    def broken(*_: Any) -> Iterator[DeadLetter]:
        yield letter(1)
        raise DamageError("a dead letter lacks a part", "store")

    monkeypatch.setattr(dynamodb_survey, "read_letters", broken)
    before = double.clock.monotonic()
    with survey(store_on(double)) as found, pytest.raises(DamageError, match="lacks a part"):
        list(found.letters())
    assert double.clock.monotonic() - before >= 1, "it was given time"


def test_pages_are_as_large_as_a_second_may_read() -> None:
    """A page of 1 MB is 256 units, which a small table has to give within a second."""
    double = made(300)
    with survey(store_on(double), rate=0.5) as found:
        sizes = [len(page.rows) for page in found.pages("orders", 0, 1)]
    limits = [request["Limit"] for operation, request in double.calls if operation == "scan"]
    assert limits[0] == 100
    assert sum(sizes) == 300
    assert max(limits[1:]) < 100
    double.calls.clear()
    with survey(store_on(double)) as found:
        list(found.pages("orders", 0, 1))
    assert all("Limit" not in request for operation, request in double.calls)


def test_a_table_that_is_gone_says_that_the_store_was_rebuilt() -> None:
    double = made()
    with survey(store_on(double)) as found:
        double.delete_table(TableName="shop.orders")
        with pytest.raises(LostError, match="rebuilt while it was read"):
            list(found.pages("orders", 0, 1))


def test_only_a_generation_that_is_live_is_surveyed() -> None:
    double = made()
    with pytest.raises(ConflictError, match="no generation"), survey(store_on(double), "0" * 32):
        pass
    nothing = store_on(DynamoDBDouble())
    with pytest.raises(ConflictError), survey(nothing):
        pass
