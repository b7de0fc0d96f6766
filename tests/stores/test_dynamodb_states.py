"""Large sequencer states (C5) in a DynamoDB store: bases, rows, and who reads between them.

The order of steps is that of `appliers.state_steps`, whose every interleaving
`tests/state/test_state_steps.py` goes through; here are the rows of the control table.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from appliers.state_base import ORPHAN_S
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_catalog import Standing, checkpoint_item
from binlog.errors import BusyError, DamageError
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, put
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import CONTROL, begin


@pytest.fixture
def double() -> DynamoDBDouble:
    return DynamoDBDouble()


def test_C5_a_large_state_is_a_base_and_small_rows(double: DynamoDBDouble) -> None:
    """A state of 300 KB at each checkpoint would cost 300 units, and does not fit above 400."""
    store, generation = begin(double)
    state = os.urandom(700_000)
    store.commit(generation, [], [checkpoint(0, 1, state=state)])
    rows = {item["pk"]["S"].partition("#")[0]: item for item in double.items(CONTROL)}
    assert len(rows["at"]["state"]["B"]) < 1024
    before = store.units.write
    store.commit(generation, [], [checkpoint(0, 2, state=state)])
    assert store.units.write - before == 1
    store.close()
    again = store_on(double)
    assert again.checkpoints(generation)[0].state == state
    again.bind(GENESIS)
    again.commit(generation, [], [checkpoint(0, 3, state=os.urandom(700_000))])
    bases = [item for item in double.items(CONTROL) if item["pk"]["S"].startswith("base#")]
    assert len(bases) == 2  # two chunks of the new one; the old one is gone
    again.close()


def test_C5_a_base_that_a_crash_left_goes_behind_a_fence(double: DynamoDBDouble) -> None:
    """Who was stopped for days before its row named a base does not come to name one that is gone."""
    store, generation = begin(double)
    states = [os.urandom(100_000) for _ in range(5)]

    def bases() -> int:
        return sum(item["pk"]["S"].startswith("base#") for item in double.items(CONTROL))

    def sweep() -> None:
        double.clock.advance((ORPHAN_S + 1) * 1000)
        store.build(tables=["users"], fingerprint="f", excluded=()).abandon()

    stopped = store._turns.writing()
    stopped.standings(generation)
    packed = stopped.states.pack(generation, 3, states[4], None)

    def stop(_: bytes) -> bool:
        raise InterruptedError

    with pytest.raises(InterruptedError):  # its base is an orphan, if it stays so
        stopped.states.write(generation, 3, packed, stop)
    for partition in range(3):
        store.commit(generation, [], [checkpoint(partition, 1, state=states[partition])])
    assert bases() == 4
    sweep()
    assert bases() == 4, "a partition without a row has no fence"
    store.commit(generation, [], [checkpoint(3, 1, state=states[3])])
    before = dict(stopped.standings(generation))
    sweep()
    assert bases() == 4, "the orphan is gone, what rows name stays"
    late = checkpoint_item(generation, Standing(checkpoint(3, 2), before[3].rev + 1), packed.row)
    assert not stopped.rows.put(late, rev=before[3].rev), "the fence stands in its way"
    assert [at.state for at in store.checkpoints(generation).values()] == states[:4]
    store.commit(generation, [], [checkpoint(0, 2, state=states[4])])
    store.close()


def test_C5_a_base_that_somebody_deleted_is_damage_and_not_a_race(double: DynamoDBDouble) -> None:
    """To be told to try again would be to try for ever."""
    store, generation = begin(double)
    store.commit(generation, [], [checkpoint(0, 1, state=os.urandom(100_000))])
    store.close()
    rows = double.items(CONTROL)
    for item in rows:
        if item["pk"]["S"].startswith("base#"):
            double.wipe(CONTROL, {"pk": item["pk"], "sk": item["sk"]})
    with pytest.raises(DamageError, match=r"names a base that is not there: dynamodb://shop"):
        store_on(double).checkpoints(generation)
    with pytest.raises(DamageError, match="not there"), store_on(double).view() as view:
        view.checkpoints(generation)


def replaced_while_read(
    double: DynamoDBDouble, store: DynamoDBStore, generation: str, offset: int
) -> None:
    """Between a reader's look at a row and its look at the base that the row names."""

    def replace(request: dict[str, Any]) -> None:
        if request["Key"]["pk"]["S"].startswith("base#"):
            double.hooks.clear()
            store.commit(generation, [], [checkpoint(0, offset, state=os.urandom(100_000))])

    double.hooks["get_item"] = replace


def test_C5_a_base_that_was_replaced_meanwhile_is_no_damage(double: DynamoDBDouble) -> None:
    """The row is read again, and is the newer one; a moment that saw the older one is over."""
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1, state=os.urandom(100_000))])
    replaced_while_read(double, store, generation, 2)
    assert store_on(double).checkpoints(generation)[0].applied == 2
    store.commit(generation, [], [checkpoint(0, 3, state=os.urandom(100_000))])
    with store_on(double).view() as view:
        replaced_while_read(double, store, generation, 4)
        with pytest.raises(BusyError, match="while it was read"):
            view.checkpoints(generation)
    store.close()


def test_C5_a_replaced_base_that_cannot_be_deleted_fails_no_commit(
    double: DynamoDBDouble,
) -> None:
    """Its row has won by then; it goes with the orphans."""
    store, generation = begin(double)
    for offset in (1, 2):
        state = os.urandom(100_000)
        double.weather = lambda operation: "refuse" if operation == "batch_write_item" else None
        store.commit(generation, [], [checkpoint(0, offset, state=state)])
        assert store.checkpoints(generation)[0].state == state
    double.weather = lambda _: None
    store.close()
