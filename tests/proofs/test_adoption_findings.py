"""What the stories of adoptions (`tests.proofs.adopted`) have found, each as its shortest one."""

from __future__ import annotations

import pytest

from appliers.stores.memory import MemoryStore
from binlog.adoption import Adoption
from binlog.clock import ManualClock
from binlog.control import adopt_frame
from binlog.envelope import UPDATE_ITEM, Envelope
from binlog.errors import PoisonError
from binlog.frame import Session, stamp_born
from binlog.log import Put
from binlog.logs.memory import MemoryLog
from binlog.objects import MemoryObjects
from binlog.reader import Reader
from binlog.testing.world.producers import PARAMS
from binlog.testing.world.records import Frame, Log
from binlog.values import encode_value
from snapshots.adopt_log import AdoptionLog
from snapshots.base import SnapshotBase
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot import Snapshot
from snapshots.snapshot_take import take_snapshot
from tests.proofs.adopted import ADOPTION, TABLE, Held, home_of


def test_who_writes_it_again_at_another_time_halts_nobody() -> None:
    """Found: the same session for all attempts, born at two times, halts its partition for everybody."""
    clock = ManualClock(10_000)
    log = MemoryLog(PARAMS, clock=clock)
    frames = []
    for _ in range(3):
        frame = adopt_frame(PARAMS, log.genesis, ADOPTION, 1, now_ms=log.now_ms())
        frames.append(stamp_born(frame, log.now_ms()))
        clock.advance(7)
    for order in (0, 2, 1, 2, 0):  # one comes late, and two come again
        log.inject(1, frames[order])
        clock.advance(3)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    reader.raise_halts()
    assert reader.sequencers[1].offset == 1
    in_log = AdoptionLog(log, TABLE)
    in_log.read()
    assert in_log.adoptions == {1: (1, ADOPTION)}


@pytest.mark.parametrize("kind", ["poison", "rejected"])
def test_an_event_that_moved_nothing_is_too_late_all_the_same(kind: str) -> None:
    """Found: a consumer said so or not by where its page ended, and a rebuild never did."""
    log = MemoryLog(PARAMS, clock=ManualClock(10_000))
    key = encode_value({"id": "a"})
    changes = {"Add": {"id": 1}} if kind == "poison" else {"Set": {"n": 1}}
    expect = None if kind == "poison" else 7
    event = Envelope("e", UPDATE_ITEM, 1, TABLE, key, encode_value(changes), None, expect)
    sent = Frame(10_000, Session(b"s" * 16, 1), 10_000, 1, (event,))
    log.inject(home_of(key), Log(PARAMS, home_of(key)).encoded(sent).data)
    frame = adopt_frame(PARAMS, log.genesis, ADOPTION, home_of(key), now_ms=log.now_ms())
    log.append([Put(home_of(key), frame)])
    with pytest.raises(PoisonError, match="there is an event of it before, at offset 1"):
        rebuild(log, MemoryStore(), Wanted(poison="park", bases=Held({})))


def test_two_bases_in_a_partition_stop_everybody() -> None:
    """Two people at once: whichever comes second is named, and can be left out."""
    log = MemoryLog(PARAMS, clock=ManualClock(10_000))
    other = Adoption(TABLE, "ef" * 16, ADOPTION.digest, ADOPTION.address)
    for adoption, now_ms in ((ADOPTION, 1), (other, 2)):
        frame = adopt_frame(PARAMS, log.genesis, adoption, 0, now_ms=now_ms)
        log.append([Put(0, frame)])
    keys = [encode_value({"id": name}) for name in "abcdefghij"]
    base = {k: k for k in keys if home_of(k) == 0}
    with pytest.raises(PoisonError, match=r"stands before it|there is an event of it before"):
        rebuild(log, MemoryStore(), Wanted(bases=Held(base)))


def test_what_a_snapshot_had_rejected_is_too_late_as_well() -> None:
    """Found: a rebuild from the snapshot went on where one from the beginning stops."""
    log = MemoryLog(PARAMS, clock=ManualClock(10_000))
    key = encode_value({"id": "a"})
    event = Envelope("e", UPDATE_ITEM, 1, TABLE, key, encode_value({"Set": {"n": 1}}), None, 7)
    sent = Frame(10_000, Session(b"s" * 16, 1), 10_000, 1, (event,))
    log.inject(home_of(key), Log(PARAMS, home_of(key)).encoded(sent).data)
    store, objects = MemoryStore(), MemoryObjects()
    rebuild(log, store, Wanted())
    base = SnapshotBase(Snapshot(objects, take_snapshot(store, objects)))
    frame = adopt_frame(PARAMS, log.genesis, ADOPTION, home_of(key), now_ms=log.now_ms())
    log.append([Put(home_of(key), frame)])
    with pytest.raises(PoisonError, match="there is an event of it before, at offset 1"):
        rebuild(log, MemoryStore(), Wanted(bases=Held({})), base=base)
