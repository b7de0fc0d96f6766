"""Snapshots of a store of which is said, while it is read, what it is made by, or without."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from appliers.applier import NO_RULES
from appliers.fingerprint import fingerprint
from appliers.stores import MemoryStore
from binlog.changes import event, put_item
from binlog.objects import MemoryObjects
from binlog.producer import Producer
from consumers.local import replicate
from consumers.redrive import Redrive
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from snapshots.starting import starting
from tests.contracts.dynamodb_places import store_on
from tests.snapshot.live_world import BROKEN, PARK, RULES, Interrupted, KilledError
from tests.snapshot.snapshot_support import new_log, rows
from tests.stores.dynamodb_double import DynamoDBDouble


class Stage:
    """An order with a payment that does not fit, and one that waits behind it, in DynamoDB."""

    def __init__(self, path: Path) -> None:
        self.log = new_log(path / "log", partitions=1)
        BROKEN.clear()
        BROKEN.add(2)
        with Producer(self.log) as producer:
            producer.append(put_item("orders", {"id": 0}, key="id"))
            producer.append(event("Paid", {"id": 0}, 2, table="orders"))
            producer.append(event("Paid", {"id": 0}, 3, table="orders"))
        self.double = DynamoDBDouble()
        self.objects = MemoryObjects()
        with closing(self.store()) as store:
            replicate(self.log, store, PARK)
            self.bad = next(iter(store.letters())).id
        self.reads = 0

    def store(self) -> Any:
        return store_on(self.double, width=1)

    def leave_out(self) -> None:
        with closing(self.store()) as store:
            [done] = Redrive(store, RULES, without=[self.bad], dry_run=False).run()
        assert done.outcome == "back"

    def take(self, happens: Callable[[int], None]) -> Snapshot:
        """``happens`` gets which read it is, from 1 on, over all tries."""

        def next_read() -> None:
            self.reads += 1
            happens(self.reads)

        source: Any = Interrupted(self.store(), next_read)
        return Snapshot(self.objects, take_snapshot(source, self.objects))


def check_rebuilds(stage: Stage, excluded: tuple[str, ...]) -> str | None:
    """That a rebuild with the snapshot is the one without it; where it begins."""
    BROKEN.clear()
    wanted = Wanted(rules=RULES, excluded=excluded)
    start = starting(stage.log, stage.objects, wanted)
    begun, whole = MemoryStore(), MemoryStore()
    rebuild(stage.log, begun, wanted, base=start.base)
    rebuild(stage.log, whole, wanted)
    assert rows(begun) == rows(whole)
    return None if start.base is None else start.base.name


@pytest.mark.parametrize("read", range(1, 7))
def test_an_event_that_is_left_out_meanwhile_is_not_lost(tmp_path: Path, read: int) -> None:
    """Its letter goes, its item goes on: nothing but the exclusion tells of it."""
    stage = Stage(tmp_path)
    snapshot = stage.take(lambda at: stage.leave_out() if at == read else None)
    assert snapshot.manifest.generation.excluded == ("offsets=0:2-2",)
    assert check_rebuilds(stage, ()) is None, "without it nothing else is a start"
    assert check_rebuilds(stage, ("offsets=0:2-2",)) == snapshot.name


def test_one_that_was_interrupted_before_is_not_gone_on_with(tmp_path: Path) -> None:
    """What it began with says nothing of that event."""
    stage = Stage(tmp_path)

    def killed(read: int) -> None:
        if read == 4:
            raise KilledError

    with pytest.raises(KilledError):
        stage.take(killed)
    stage.leave_out()
    snapshot = stage.take(lambda _: None)
    assert snapshot.manifest.generation.excluded == ("offsets=0:2-2",)
    assert check_rebuilds(stage, ()) is None


def test_rules_that_it_goes_on_by_meanwhile_are_the_snapshots(tmp_path: Path) -> None:
    """Rows may be theirs by now, of types that the earlier ones had nothing to do with."""
    stage = Stage(tmp_path)
    newer = fingerprint(NO_RULES)

    def described(read: int) -> None:
        if read == 3:
            with closing(stage.store()) as store:
                [live] = store.generations()
                store.describe(live.id, fingerprint=newer, types=["Shipped"])

    generation = stage.take(described).manifest.generation
    assert (generation.fingerprint, generation.types) == (newer, ("Paid", "Shipped"))
