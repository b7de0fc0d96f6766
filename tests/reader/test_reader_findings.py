"""What a review found in the reader, each as a short story."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from binlog.actions import build
from binlog.clock import ManualClock
from binlog.control import resolve_frame
from binlog.errors import DamageError, HaltedError
from binlog.frame import stamp_born
from binlog.halt import resolution_for
from binlog.log import Page, Position
from binlog.logs.memory import MemoryLog
from binlog.ordered import OrderedRuns
from binlog.params import Params
from binlog.partition import ordering_key, partition_of
from binlog.producer import Producer
from binlog.reader import Reader
from binlog.values import encode_value

PARAMS = Params(log_id="ab" * 16, partitions=2)


class BrokenLog(MemoryLog):
    """A log whose bytes are damaged from a record on, as a directory log would say it."""

    broken: int | None = None  # sequence number of the first damaged record

    def read(self, after: Position, **options: Any) -> Page:
        page = super().read(after, **options)
        if self.broken is None or page.next.sequence < self.broken:
            return page
        good = [record for record in page.records if record.sequence < self.broken]
        if not good and after.sequence >= self.broken - 1:
            raise DamageError("damaged log", "segment 0 byte 17")
        place = msgspec.structs.replace(page.next, sequence=self.broken - 1)
        return Page(good, place, caught_up=False)


def new_log(*, shards: int = 1, **params: Any) -> BrokenLog:
    pinned = msgspec.structs.replace(PARAMS, **params)
    return BrokenLog(pinned, clock=ManualClock(), shards=shards)


def key_in(partition: int) -> str:
    for number in range(1_000):
        key = encode_value({"id": f"k{number}"})
        if partition_of(ordering_key("users", key), PARAMS.partitions) == partition:
            return f"k{number}"
    raise AssertionError("unreachable")


def append(log: MemoryLog, partition: int, event_id: str) -> None:
    action = {"Action": "PutItem", "Key": {"id": key_in(partition)}, "Data": {"n": 1}}
    with Producer(log, clock=ManualClock()) as producer:
        producer.append_many(
            build(action, table="users", now_ms=1, new_id=lambda: event_id),
        )


def ids(reader: Reader, found: list[str] | None = None) -> list[str]:
    """The ids of all that is read, in ``found`` if it is given."""
    found = [] if found is None else found
    while (runs := reader.read()) is not None:
        found.extend(event_id for run in runs for event_id in run.columns.ids)
    return found


def test_damage_ahead_of_a_halt_hides_nothing_of_what_lies_before_it() -> None:
    """The search for a RESOLVE met the damage in the middle of a page: what the page had given
    was lost, and the next page went on behind it."""
    log = new_log()
    append(log, 0, "a")
    append(log, 1, "b")
    log.inject(0, b"no frame at all")
    append(log, 1, "c")
    log.broken = log.inject(1, b"flipped").sequence
    reader = Reader(log)
    found: list[str] = []
    with pytest.raises(DamageError):
        ids(reader, found)
    assert found == ["a", "b", "c"]
    assert [*reader.halts] == [0]
    ordered = OrderedRuns(log)
    assert [i for run in ordered for i in run.columns.ids] == ["a", "b", "c"]
    assert ordered.vector == {0: 1, 1: 2}


def test_damage_ahead_is_told_though_every_partition_is_halted() -> None:
    """Nothing else would ever read up to it."""
    log = new_log()
    for partition in range(2):
        log.inject(partition, b"no frame at all")
    append(log, 0, "behind")
    log.broken = log.inject(1, b"flipped").sequence
    reader = Reader(log)
    with pytest.raises(DamageError):
        ids(reader)
    assert [*reader.halts] == [0, 1]


def test_a_foreign_record_lifts_no_halt() -> None:
    """It is not of the partition (S7), so it can neither decide nor make a RESOLVE expire."""
    log = new_log(foreign="skip")
    log.inject(0, b"no frame at all")
    reader = Reader(log)
    assert ids(reader) == []
    resolution = resolution_for(reader.halts[0], "skip")
    frame = resolve_frame(log.params, log.genesis, resolution, family=b"f" * 16, now_ms=1)
    log.inject_foreign("somebody's", stamp_born(frame, log.now_ms()), shard=log.shards()[0].id)
    again = Reader(log)
    ids(again)
    with pytest.raises(HaltedError):
        again.raise_halts()


def test_a_foreign_record_makes_no_resolve_expire() -> None:
    """The running mark is of the partition's records, as in the sequencer."""
    log = new_log(foreign="skip")
    log.inject(0, b"no frame at all")
    reader = Reader(log)
    assert ids(reader) == []
    resolution = resolution_for(reader.halts[0], "skip")
    frame = resolve_frame(log.params, log.genesis, resolution, family=b"f" * 16, now_ms=1)
    now = log.now_ms()
    late = now + 2 * PARAMS.session_life_ms
    log.inject_foreign("somebody's", b"", shard=log.shards()[0].id, arrival_ms=late)
    log.inject(0, stamp_born(frame, now), arrival_ms=now)
    again = Reader(log)
    ids(again)
    again.raise_halts()


def test_a_busy_shard_does_not_keep_the_others_from_being_read() -> None:
    """Each page came from the first shard that had one: with steady writing, always the same."""
    log = new_log(shards=2)
    first = min(log.shards(), key=lambda shard: shard.id)
    busy = min(first.partitions)
    append(log, 1 - busy, "quiet")
    reader, found = Reader(log), []
    for number in range(4):
        append(log, busy, f"busy {number}")
        found += [event_id for run in reader.read() or [] for event_id in run.columns.ids]
    assert "quiet" in found
