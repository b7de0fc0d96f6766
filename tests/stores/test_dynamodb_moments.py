"""When a DynamoDB store's items and vector are of one moment, and when its readers are told not."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import pytest

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.errors import BusyError, RefusedError
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.engine import Engine
from consumers.thrift import IDLE_S, Thrift
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, content, put
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import begin


def test_items_ahead_of_their_checkpoint_are_no_moment(tmp_path: Path) -> None:
    """`verify` would call them damaged: newer than the vector up to which they are applied."""
    clock = ManualClock()
    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=2))
    log = DirectoryLog(tmp_path / "log", clock=clock)
    with Producer(log) as producer:
        for number in range(9):
            producer.append(put_item("orders", {"id": number}, key="id"))
    double = DynamoDBDouble()
    store = store_on(double, width=1)
    store.bind(log.genesis)
    made = store.create(tables=None, fingerprint=fingerprint(NO_RULES), excluded=())
    engine = Engine(log, store, made, NO_RULES, thrift=Thrift(clock.monotonic))
    while engine.step() is not None:
        pass
    assert store.checkpoints(made.id) == {}
    with pytest.raises(BusyError, match="a commit is under way"):
        content(store)
    clock.advance(round(IDLE_S * 1000))
    assert engine.step() is None
    assert len(content(store)) == 9
    assert sum(each.applied for each in store.checkpoints(made.id).values()) == 9
    store.close()


@pytest.mark.parametrize("is_behind", [False, True])
def test_who_finds_nothing_left_to_write_says_that_it_is_done(*, is_behind: bool) -> None:
    """After a crash behind the last item; nobody could read the store until the next event."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    if is_behind:
        store.commit(generation, [put("b", 2)], [], behind=[0])
    else:
        double.faults["put_item"] = deque([None, None, "refuse"])
        with pytest.raises(RefusedError):
            store.commit(generation, [put("b", 2)], [checkpoint(0, 2)])
    store.close()
    again = store_on(double)
    again.bind(GENESIS)
    with pytest.raises(BusyError):
        content(again)
    again.commit(generation, [], [checkpoint(1, 1)], behind=[0])
    with pytest.raises(BusyError):
        content(again)
    again.commit(generation, [], [checkpoint(0, 2)])
    assert len(content(again)) == 2
    assert len(again.checkpoints(generation)) == 2
    again.close()
