"""Canaries: an invariant is broken on purpose, and the proofs have to notice.

Beside them stands `scripts/sabotage`, which breaks the code itself in every way that the design
lists. These here break what the proofs look at, so that a proof that looks at nothing is found out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import given

from appliers.item import Row
from appliers.stores.memory import MemoryStore
from binlog.arrival import Decisions
from binlog.log import Record
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.testing.world.ledger import check_ledger, check_order
from binlog.testing.world.producers import PARAMS
from tests.proofs.budget import LARGE, assert_met, until_caught
from tests.proofs.drive import Driver
from tests.proofs.histories import Soup, soups
from tests.proofs.hostile import HostileProducers
from tests.proofs.test_ledger_proofs import judge
from tests.proofs.test_sequencer_proofs import assert_same
from tests.proofs.whole import PAGE_BYTES, Whole, assert_replica


class ForgetsOne(Sequencer):
    """Gives every run but the fourth."""

    def feed(self, shard: str, record: Record, decisions: Decisions = {}) -> Sequence[Run]:  # noqa: B006
        return [run for run in super().feed(shard, record, decisions) if run.first_offset != 4]


class ForgetfulDriver(Driver):
    def new(self, state: bytes | None = None) -> Sequencer:
        return ForgetsOne(self.log.params, self.log.genesis, self.log.partition, state)


@LARGE
def test_a_sequencer_that_loses_one_event_is_caught() -> None:
    @until_caught(4)
    @given(soups())
    def holds(soup: Soup) -> None:
        assert_same(soup, ForgetfulDriver(soup.log).run(soup.history), soup.judge())

    with pytest.raises(AssertionError):
        holds()


def busy_world() -> HostileProducers:
    world = HostileProducers(kinesis=True)
    for number in range(60):
        world.step(bytes([1, number, number, number * 7 % 256, 3, 1]))
        world.step(bytes([12, number, 0, 0, 0, 1]))
    world.settle()
    return world


def test_an_acknowledged_event_that_is_not_there_is_caught() -> None:
    world = busy_world()
    partition = max(range(PARAMS.partitions), key=lambda p: len(world.records(p)))
    verdict = judge(world, partition)
    check_ledger(world.ledger, partition, verdict)
    verdict.taken.pop()
    with pytest.raises(AssertionError, match="acknowledged event is lost"):
        check_ledger(world.ledger, partition, verdict)


def test_an_event_that_is_there_twice_or_out_of_order_is_caught() -> None:
    world = busy_world()
    partition = max(range(PARAMS.partitions), key=lambda p: len(world.records(p)))
    verdict = judge(world, partition)
    events = [(t.session, t.event) for t in verdict.sequenced if t.event is not None]
    check_order(events)
    [(family, _)] = Counter(session.family for session, _ in events).most_common(1)
    earlier, later = [event for event in events if event[0].family == family][:2]
    with pytest.raises(AssertionError, match="order"):
        check_order([later, earlier])
    verdict.taken.append(verdict.taken[0])
    with pytest.raises(AssertionError, match="twice"):
        check_ledger(world.ledger, partition, verdict)


@pytest.mark.parametrize(
    "change",
    [
        lambda row: msgspec.structs.replace(row, version=row.version + 1),
        lambda row: msgspec.structs.replace(row, data=None if row.data else b"\x80"),
        lambda _row: None,
    ],
    ids=["another version", "another content", "gone"],
)
def test_a_replica_that_differs_in_one_row_is_caught(change: object, tmp_path: Path) -> None:
    whole = Whole(kind="memory", kinesis=True, folder=tmp_path)
    for number in range(12):
        whole.producers.publish(0, [whole.producers.make_event(number, number, number)])
        whole.producers.tick(5)
        whole.producers.work(0, (0, 0), reply_at_once=True)
    whole.replicate(1_000, PAGE_BYTES[-1])
    tables = whole.tables(whole.end())
    store = whole.store
    assert isinstance(store, MemoryStore)
    assert_replica(store, tables)
    rows: dict[bytes, Row] = next(iter(store._content.tables.values()))
    key, row = next(iter(rows.items()))
    assert callable(change)
    changed = change(row)
    if changed is None:
        del rows[key]
    else:
        rows[key] = changed
    with pytest.raises(AssertionError):
        assert_replica(store, tables)


def test_a_rare_thing_that_never_happened_is_caught() -> None:
    """Invariant 24."""
    with pytest.raises(AssertionError, match="never happened in this run: zombie"):
        assert_met(Counter(ghost=3), ["ghost", "zombie"])
