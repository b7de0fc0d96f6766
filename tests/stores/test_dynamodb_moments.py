"""When a DynamoDB store's items and vector are of one moment, and when its readers are told not."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import msgspec
import pytest

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.item import Write
from appliers.stores.dynamodb import DynamoDBStore
from binlog.changes import put_item
from binlog.clock import ManualClock
from binlog.errors import BusyError, DamageError, RefusedError
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer
from consumers.engine import Engine
from consumers.thrift import IDLE_S, Thrift
from tests.contracts.dynamodb_places import store_on
from tests.contracts.store_contract import GENESIS, checkpoint, content, key, put, row
from tests.stores.dynamodb_double import DynamoDBDouble
from tests.stores.dynamodb_story import begin, written


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


def is_a_moment(store: DynamoDBStore) -> bool:
    try:
        content(store)
    except BusyError:
        return False
    return True


def test_each_partition_that_a_crash_left_ahead_is_waited_for() -> None:
    """One that has caught up says nothing about another, nor a part of the way about the whole."""
    double = DynamoDBDouble()
    store, generation = begin(double, width=1)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1), checkpoint(1, 1)])
    ahead = [put("a", 9), of_one(put("b", 7))]
    double.faults["put_item"] = deque([*[None] * 3, "refuse"])  # the lock, a and b, a checkpoint
    with pytest.raises(RefusedError):
        store.commit(generation, ahead, [checkpoint(0, 9), checkpoint(1, 7)])
    store.close()
    again = store_on(double)
    again.bind(GENESIS)
    assert not is_a_moment(again)
    again.commit(generation, [], [checkpoint(0, 9)])
    assert not is_a_moment(again), "partition 1 is still ahead"
    again.commit(generation, [put("c", 12)], [checkpoint(0, 12)])
    assert not is_a_moment(again), "whatever another partition writes"
    again.commit(generation, [of_one(put("d", 4))], [checkpoint(1, 4)])
    assert not is_a_moment(again), "b is of offset 7"
    assert not is_a_moment(store_on(double)), "also for who comes anew"
    again.commit(generation, [], [checkpoint(1, 7)])
    assert is_a_moment(again)
    assert is_a_moment(store_on(double))
    again.close()


def test_what_a_failed_commit_has_written_is_ahead_until_it_is_repeated() -> None:
    """Its writer may die before that."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 5)], [checkpoint(0, 5)])
    assert store.commit(generation, [put("a", 4), put("b", 7)], [checkpoint(0, 7)])
    store.close()
    again = store_on(double)
    again.bind(GENESIS)
    assert not is_a_moment(again)
    assert again.commit(generation, [put("a", 3)], [checkpoint(0, 7)]), "nothing of it is there"
    assert not is_a_moment(again)
    again.commit(generation, [], [checkpoint(0, 7)])
    assert is_a_moment(again)
    assert again.commit(generation, [put("a", 3)], [checkpoint(0, 8)])
    assert is_a_moment(again), "where nothing was written nothing is ahead"
    again.close()


def test_what_is_ahead_in_a_generation_that_was_replaced_counts_no_more() -> None:
    """Nobody reads it; and the new one may stand at an earlier vector for good."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 5)], [], behind=[0])
    assert not is_a_moment(store)
    build = store.build(tables=None, fingerprint="f", excluded=())
    build.load("orders", [(key("a"), row("a", 1))])
    build.finish({0: checkpoint(0, 2)}, tables=[])
    assert content(store) == {key("a"): row("a", 1)}
    store.close()


def test_a_commit_costs_one_write_of_the_lock_and_none_where_nothing_is_written() -> None:
    """However many partitions: nothing is noted at its end."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    double.calls.clear()
    writes = [put("a", 2), of_one(put("b", 2))]
    store.commit(generation, writes, [checkpoint(0, 2), checkpoint(1, 2)])
    assert written(double).count("lock") == 1
    double.calls.clear()
    store.commit(generation, [], [checkpoint(0, 3)])
    assert written(double) == ["at"]
    store.close()


def test_a_table_that_somebody_dropped_is_damage_and_no_question_of_the_region() -> None:
    """Of a store that is there: `check` has to name it as broken, and not as a wrong address."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    with store.view() as view:
        [table] = {t for g in view.generations() for t in g.tables}
        [physical] = [name for name in double.tables if name.endswith(f".{table}")]
        double.delete_table(TableName=physical)
        with pytest.raises(DamageError, match="lacks a table that its catalog names"):
            list(view.scan(table))
        with pytest.raises(DamageError, match="lacks a table"):
            view.read(generation, table, [key("a")])
    store.close()


def of_one(write: Write) -> Write:
    """The same of partition 1."""
    return msgspec.structs.replace(write, row=msgspec.structs.replace(write.row, partition=1))


def test_what_a_team_left_ahead_is_no_moment_when_it_is_gone() -> None:
    """A team notes nothing in the lock: who writes alone after it finds nothing to write, and notes
    nothing either."""
    double = DynamoDBDouble()
    store, generation = begin(double)
    store.commit(generation, [put("a", 1)], [checkpoint(0, 1)])
    store.close()
    worker = store_on(double)
    worker.share()
    worker.bind(GENESIS)
    worker.checkpoints(generation)
    worker.commit(generation, [put("a", 5), of_one(put("b", 7))], [])  # and is killed
    alone = store_on(double)
    alone.bind(GENESIS)
    assert not is_a_moment(alone)
    alone.unshare()
    assert not alone.shared
    assert not is_a_moment(alone)
    alone.commit(generation, [], [checkpoint(0, 5)])
    assert not is_a_moment(alone), "partition 1 is still ahead"
    alone.commit(generation, [], [checkpoint(1, 7)])
    assert is_a_moment(alone)
    assert is_a_moment(store_on(double))
    alone.close()
