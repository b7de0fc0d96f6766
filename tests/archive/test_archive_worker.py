"""Delivered records become segments; a batch is done when it is in the chains, and not before."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiving, archive
from binlog.archive.through import Through, read_through, through_key, write_through
from binlog.clock import ManualClock
from binlog.errors import BusyError, HaltedError, MismatchError, StorageError, TrimmedError
from binlog.foreign import home_of
from binlog.log import Page, Position, Record
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from binlog.params import Params
from consumers.archive_worker import PROVED_S, ArchiveWorker
from tests.archive.archive_world import archived, assert_whole, places
from tests.archive.test_archiver import append_to
from tests.log.kinesis_world import HOUR_MS, KinesisWorld, read_shard
from tests.log.log_frames import PARAMS, put

BORN = 1_700_000_000_000


class CountingLog(MemoryLog):
    """Knows how often it was read."""

    reads = 0

    def read(self, after: Position, **how: Any) -> Page:
        self.reads += 1
        return super().read(after, **how)


class Broken(MemoryObjects):
    """Refuses to write, from some put on; a put that it refuses may have been done."""

    def __init__(self) -> None:
        super().__init__()
        self.left: int | None = None
        self.is_done = False

    def put_new(self, key: str, data: bytes) -> bool:
        if self.left is not None:
            if not self.left:
                if self.is_done:
                    super().put_new(key, data)
                raise StorageError("no reply", self.name, "try again")
            self.left -= 1
        return super().put_new(key, data)


def world(shards: int = 1, objects: Any = None) -> tuple[CountingLog, ManualClock, Any]:
    clock = ManualClock()
    log = CountingLog(PARAMS, clock=clock, shards=shards, first_sequence=10**55)
    kept = objects or MemoryObjects()
    Archive.create(kept, log.params, log.genesis)
    return log, clock, kept


def worker_of(
    log: MemoryLog, objects: Any, clock: ManualClock, *, whole: bool = True
) -> ArchiveWorker:
    return ArchiveWorker(log, Archive.open(objects), whole=whole, clock=clock)


def all_of(log: MemoryLog, shard: str) -> list[Record]:
    return list(log._shards[shard].records)


def is_in(log: MemoryLog, objects: Any, shard: str, record: Record) -> bool:
    """Whether a record is in the chain that it belongs into."""
    home = record.partition
    if home < 0:
        found = next(each for each in log.shards() if each.id == shard)
        home = home_of(found, record.partition_key, log.params.partitions) or 0
    chain = places(archived(Archive.open(objects), home))
    return (shard, record.sequence, record.arrival_ms, record.partition) in chain


def test_what_is_delivered_is_in_the_chains_when_it_is_done() -> None:
    """And a batch that comes again changes nothing."""
    log, clock, objects = world()
    log.append([put(1, partition=p) for p in range(4)])
    worker = worker_of(log, objects, clock)
    records = all_of(log, "shard-0000")
    outcome = worker.apply("shard-0000", records)
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert (outcome.events, outcome.writes) == (4, 4)
    assert_whole(log, Archive.open(objects))
    again = worker.apply("shard-0000", records)
    assert (again.first_failed, again.error, again.writes) == (None, None, 0)
    zombie = worker_of(log, objects, clock)
    assert zombie.apply("shard-0000", records[:3]).first_failed is None
    assert_whole(log, Archive.open(objects))


def test_the_log_is_read_once_and_then_what_is_delivered_is_believed() -> None:
    """Production shares two megabytes a second of the shard with it."""
    log, clock, objects = world()
    worker = worker_of(log, objects, clock)
    worker.apply("shard-0000", all_of(log, "shard-0000"))
    before = log.reads
    for number in range(1, 6):
        log.append([put(number, born_ms=BORN)])
        [record] = all_of(log, "shard-0000")[-1:]
        assert worker.apply("shard-0000", [record]).writes == 1
    assert log.reads == before
    clock.advance(int(PROVED_S * 1000) + 1)
    log.append([put(6, born_ms=BORN)])
    worker.apply("shard-0000", all_of(log, "shard-0000")[-1:])
    assert log.reads > before
    assert_whole(log, Archive.open(objects))


def test_a_gap_before_what_is_delivered_is_read_from_the_log() -> None:
    """A mapping that was made anew may begin anywhere; nothing in its batches says so."""
    log, clock, objects = world()
    for number in range(1, 8):
        log.append([put(number, partition=p, born_ms=BORN) for p in range(4)])
    records = all_of(log, "shard-0000")
    outcome = worker_of(log, objects, clock).apply("shard-0000", records[20:])
    assert outcome.first_failed is None
    assert_whole(log, Archive.open(objects))


def test_a_worker_that_remembers_an_old_end_goes_on_at_the_true_one() -> None:
    """Its key is taken: what it would have written lacks what others did."""
    log, clock, objects = world()
    first = worker_of(log, objects, clock)
    first.apply("shard-0000", all_of(log, "shard-0000"))
    for number in (1, 2, 3):
        log.append([put(number, partition=p, born_ms=BORN) for p in range(4)])
    records = all_of(log, "shard-0000")
    second = worker_of(log, objects, clock)
    second.apply("shard-0000", records[:-4])
    outcome = first.apply("shard-0000", records[-4:])
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert_whole(log, Archive.open(objects))


def test_a_halt_that_comes_of_an_old_end_is_none() -> None:
    """The record that is missing was archived by another worker."""
    params = Params(log_id=PARAMS.log_id, partitions=4, hold_frames_max=1)
    clock = ManualClock()
    log = MemoryLog(params, clock=clock)
    objects = MemoryObjects()
    Archive.create(objects, params, log.genesis)
    first = worker_of(log, objects, clock)
    first.apply("shard-0000", all_of(log, "shard-0000"))
    for number in range(1, 7):
        log.append([put(number, born_ms=BORN, params=params)])
    records = all_of(log, "shard-0000")
    worker_of(log, objects, clock).apply("shard-0000", records[:-4])
    outcome = first.apply("shard-0000", records[-4:])
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert_whole(log, Archive.open(objects))


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("puts", range(5))
def test_what_could_not_be_written_is_delivered_again(puts: int, *, is_done: bool) -> None:
    """A lost reply is an unknown outcome: the first that may be missing is reported."""
    log, clock, objects = world(objects=Broken())
    worker = worker_of(log, objects, clock)
    worker.apply("shard-0000", all_of(log, "shard-0000"))
    log.append([put(1, partition=p) for p in range(4)])
    records = all_of(log, "shard-0000")
    objects.left, objects.is_done = puts, is_done
    outcome = worker.apply("shard-0000", records)
    done = records
    if puts < 4:
        assert isinstance(outcome.error, StorageError)
        assert outcome.first_failed is not None
        done = [each for each in records if each.sequence < outcome.first_failed]
    objects.left = None
    assert all(is_in(log, objects, "shard-0000", each) for each in done)
    assert worker.apply("shard-0000", records).first_failed is None
    assert_whole(log, Archive.open(objects))


def test_a_halt_fails_its_record_and_what_the_others_have_is_archived() -> None:
    """The whole shard of a Lambda stops there: somebody has to decide."""
    log, clock, objects = world()
    log.append([put(1, partition=p) for p in (1, 2)])
    halting = log.inject(1, b"garbage")
    log.append([put(2, partition=2, born_ms=BORN)])
    outcome = worker_of(log, objects, clock).apply("shard-0000", all_of(log, "shard-0000"))
    assert outcome.first_failed == halting.sequence
    assert isinstance(outcome.error, HaltedError)
    assert [halt.partition for halt in outcome.halted] == [1]
    assert places(archived(Archive.open(objects), 2)) == places(log.records(2))
    assert read_through(objects, "shard-0000") is None


def test_a_shard_in_lanes_is_archived_by_whichever_lane_comes_first() -> None:
    """A foreign record comes in another lane than its home's, and stands in its home's chain."""
    log, clock, objects = world()
    for number in (1, 2):
        log.append([put(number, partition=p, born_ms=BORN) for p in range(4)])
        log.inject_foreign(f"key {number}", b"sample", shard="shard-0000")
    records = all_of(log, "shard-0000")
    lanes = [[r for r in records if r.partition % 2 == lane] for lane in (0, 1)]
    workers = [worker_of(log, objects, clock, whole=False) for _ in lanes]
    for worker, lane in zip(workers, lanes, strict=True):
        assert worker.apply("shard-0000", lane).first_failed is None
    workers[0].apply("shard-0000", records[-1:])
    for record in records:
        assert is_in(log, objects, "shard-0000", record)
    reads = log.reads
    assert workers[1].apply("shard-0000", lanes[1]).first_failed is None
    assert log.reads == reads  # the shard's note says that all of it is there


def test_a_shard_that_comes_in_lanes_from_now_on_is_archived_whole() -> None:
    """A factor of parallelization may be raised while a process lives: nothing in a batch says so."""
    log, clock, objects = world()
    worker = worker_of(log, objects, clock, whole=False)
    assert worker.apply("shard-0000", all_of(log, "shard-0000")).first_failed is None
    for number in (1, 2):
        log.append([put(number, partition=p, born_ms=BORN) for p in range(4)])
    records = all_of(log, "shard-0000")[4:]
    for lane in (0, 1):
        batch = [record for record in records if record.partition % 2 == lane]
        assert worker.apply("shard-0000", batch).first_failed is None
        assert all(is_in(log, objects, "shard-0000", record) for record in batch)
    assert_whole(log, Archive.open(objects))


def test_a_note_that_is_ahead_of_the_chains_is_not_believed() -> None:
    """Somebody has deleted, or restored, what came after their ends."""
    log, clock, objects = world()
    log.append([put(1, born_ms=BORN)])
    worker_of(log, objects, clock).apply("shard-0000", all_of(log, "shard-0000"))
    kept = {entry.key for entry in objects.list("chain/")}
    for number in (2, 3):
        log.append([put(number, born_ms=BORN)])
    records = all_of(log, "shard-0000")
    worker_of(log, objects, clock).apply("shard-0000", records)
    later = [entry.key for entry in objects.list("chain/") if entry.key not in kept]
    assert later
    objects.delete(later)
    cut = {entry.key: objects.get(entry.key) or b"" for entry in objects.list()}
    assert worker_of(log, objects, clock).apply("shard-0000", records[-1:]).first_failed is None
    assert_whole(log, Archive.open(objects))
    log.append([put(4, born_ms=BORN)])
    for whole in (True, False):
        objects = MemoryObjects()
        for key, data in cut.items():
            objects.put(key, data)
        worker = worker_of(log, objects, clock, whole=whole)
        assert worker.apply("shard-0000", all_of(log, "shard-0000")[-1:]).first_failed is None
        assert_whole(log, Archive.open(objects))


def test_a_note_is_believed_only_whole() -> None:
    """What it says decides where reading begins."""
    objects = MemoryObjects()
    through = Through("shard", 10**55, 7, {3: Position("shard", 10**55 - 1)})
    write_through(objects, through)
    assert read_through(objects, "shard") == through
    assert read_through(objects, "another") is None
    data = objects.get(through_key("shard")) or b""
    for at in range(len(data) - 1):
        objects.put(through_key("shard"), data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
        assert read_through(objects, "shard") is None
    objects.put(through_key("another"), data)
    assert read_through(objects, "another") is None


def test_the_end_of_a_shard_is_done_when_all_of_it_is_archived() -> None:
    """Its children begin then."""
    log, clock, objects = world()
    for number in (1, 2):
        log.append([put(number, partition=p, born_ms=BORN) for p in range(4)])
    log.split("shard-0000")
    worker = worker_of(log, objects, clock)
    outcome = worker.apply("shard-0000", [], closed=True)
    assert (outcome.first_failed, outcome.error) == (None, None)
    assert_whole(log, Archive.open(objects))
    log.append([put(3, partition=3, born_ms=BORN)])
    child = log.records(3)[-1][0]
    assert worker.apply(child, all_of(log, child)).error is None
    assert_whole(log, Archive.open(objects))


def test_a_call_that_has_no_time_left_reports_what_it_did_not_archive() -> None:
    """It is delivered again, and goes on where it was."""
    log, clock, objects = world()
    log.append([put(1)])
    worker = worker_of(log, objects, clock)
    records = all_of(log, "shard-0000")
    outcome = worker.apply("shard-0000", records, deadline=clock.monotonic())
    assert outcome.first_failed == records[0].sequence
    assert isinstance(outcome.error, BusyError)
    assert worker.apply("shard-0000", records).first_failed is None


def test_an_archive_of_another_log_is_refused() -> None:
    """Before anything is delivered."""
    log, clock, _ = world()
    other = MemoryLog(Params(log_id="2e" * 16, partitions=4), clock=clock)
    into = Archive.create(MemoryObjects(), other.params, other.genesis)
    with pytest.raises(MismatchError):
        ArchiveWorker(log, into, clock=clock)


@pytest.mark.parametrize("seed", range(16))
def test_batches_in_any_order_of_workers_make_one_chain(seed: int) -> None:
    """Overlapping calls, zombies, lanes, splits, a pulled archiver beside them, writes that fail."""
    random = Random(seed)
    log, clock, objects = world(shards=2, objects=Broken())
    numbers = dict.fromkeys(range(4), 1)
    given: dict[str, int] = {}  # how many records of each shard are done
    workers: list[ArchiveWorker] = []
    whole = seed % 2 == 0
    for _ in range(50):
        for _ in range(random.randrange(3)):
            partition = random.randrange(4)
            frames = [put(numbers[partition], partition=partition, born_ms=BORN)]
            log.append(frames * random.choice((1, 1, 2)))
            numbers[partition] += 1
        clock.advance(random.choice((1, 1_000, 700_000)))
        open_shards = [s for s in log.shards() if not s.closed and len(s.partitions) > 1]
        if random.random() < 0.06 and open_shards:
            log.split(random.choice(open_shards).id)
        if random.random() < 0.1:
            shard = random.choice(log.shards())
            if not shard.closed:
                log.inject_foreign(f"k{random.randrange(9)}", b"x", shard=shard.id)
        if len(workers) < 3 or random.random() < 0.2:
            workers.append(worker_of(log, objects, clock, whole=whole))
            workers = workers[-4:]
        if random.random() < 0.1:
            archive(log, Archive.open(objects), Archiving(once=True), clock=clock)
        deliver(log, objects, random, given, workers, whole=whole)
    objects.left = None
    archive(log, Archive.open(objects), Archiving(once=True), clock=clock)
    for shard in log.shards():
        for record in all_of(log, shard.id):
            if shard.partitions:
                assert is_in(log, objects, shard.id, record)
    for partition in range(4):
        own = [
            pair for pair in archived(Archive.open(objects), partition) if pair[1].partition >= 0
        ]
        assert places(own) == places(log.records(partition))


def deliver(
    log: MemoryLog,
    objects: Broken,
    random: Random,
    given: dict[str, int],
    workers: list[ArchiveWorker],
    *,
    whole: bool,
) -> None:
    """A batch of some shard, as a mapping would deliver it, or once more what was delivered."""

    def ready(shard: str) -> bool:
        return given.get(shard, 0) == len(all_of(log, shard))

    able = [
        shard.id
        for shard in log.shards()
        if shard.partitions and all(ready(parent) for parent in shard.parents)
    ]
    shard = random.choice(able)
    done, records = given.get(shard, 0), all_of(log, shard)
    begin = done if random.random() < 0.8 else random.randrange(done + 1)
    batch = records[begin : begin + random.randrange(1, 8)]
    if not whole:  # a lane, from which some partitions are missing
        lane = random.sample(range(-1, 4), 3)
        batch = [each for each in batch if each.partition in lane]
        begin, done = 0, 0
    if not batch:
        return
    objects.left = random.choice((None, None, None, 0, 1, 2))
    objects.is_done = random.random() < 0.5
    outcome = random.choice(workers).apply(shard, batch)
    objects.left = None
    failed = outcome.first_failed
    through = [each for each in batch if failed is None or each.sequence < failed]
    assert all(is_in(log, objects, shard, each) for each in through)
    if whole:
        given[shard] = max(done, begin + len(through))
    elif failed is None:
        given[shard] = max(given.get(shard, 0), 1 + records.index(batch[-1]))


def test_records_that_the_stream_forgot_before_they_were_archived_fail_the_batch() -> None:
    """What was not delivered for a day is in no batch, and nothing in the batches says so."""
    kinesis = KinesisWorld()
    log = kinesis.open()
    objects = MemoryObjects()
    Archive.create(objects, log.params, log.genesis)
    shard = log.shards()[0].id
    worker = ArchiveWorker(log, Archive.open(objects), clock=kinesis.clock)
    assert worker.apply(shard, read_shard(log, Position(shard, -1))).error is None
    append_to(kinesis, 1, 2)
    kinesis.clock.advance(30 * HOUR_MS)
    append_to(kinesis, 2, 2)
    late = kinesis.open()
    [record] = read_shard(late, Position(shard, -1))
    worker = ArchiveWorker(late, Archive.open(objects), clock=kinesis.clock)
    outcome = worker.apply(shard, [record])
    assert isinstance(outcome.error, TrimmedError)
    assert outcome.first_failed == record.sequence


def test_a_quiet_partition_beside_busy_ones_is_noted() -> None:
    """Else its next record, a day later, would have nothing to follow on."""
    kinesis = KinesisWorld()
    log = kinesis.open()
    objects = MemoryObjects()
    Archive.create(objects, log.params, log.genesis)
    shard = log.shards()[0].id
    given = -1
    worker = ArchiveWorker(log, Archive.open(objects), whole=True, clock=kinesis.clock)
    for hour in range(40):
        append_to(kinesis, hour + 1, 1)
        if hour == 39:
            append_to(kinesis, 99, 2)
        batch = read_shard(kinesis.open(), Position(shard, given))
        given = batch[-1].sequence
        outcome = worker.apply(shard, batch)
        assert (outcome.first_failed, outcome.error) == (None, None)
        kinesis.clock.advance(HOUR_MS)
    ends = [Archive.open(objects).chain(p).end() for p in range(4)]
    assert [end.last for end in ends if end] == [0, 40, 1, 0]
    report = archive(
        kinesis.open(), Archive.open(objects), Archiving(once=True), clock=kinesis.clock
    )
    assert report.total("segments") == 0


class Lagging(CountingLog):
    """A call for its end does not give yet what others have been handed already."""

    lags_at: int | None = None

    def read(self, after: Position, **how: Any) -> Page:
        page = super().read(after, **how)
        known = [r for r in page.records if self.lags_at is None or r.sequence < self.lags_at]
        if len(known) == len(page.records):
            return page
        sequence = known[-1].sequence if known else after.sequence
        return Page(known, Position(after.shard, sequence), caught_up=True)


def test_nothing_is_noted_beyond_what_the_log_gave() -> None:
    """Or whoever begins at the note passes over what lies before it: a foreign record in another lane
    than its home's, say, and a reader of the archive whatever was delivered."""
    clock, objects = ManualClock(), MemoryObjects()
    log = Lagging(PARAMS, clock=clock, first_sequence=10**55)
    Archive.create(objects, log.params, log.genesis)
    first = worker_of(log, objects, clock, whole=False)
    first.apply("shard-0000", all_of(log, "shard-0000"))
    place = log.inject_foreign("somebody", b"hello", shard="shard-0000")
    foreign = next(r for r in all_of(log, "shard-0000") if r.sequence == place.sequence)
    home = home_of(log.shards()[0], "somebody", 4) or 0
    log.append([put(1, partition=home)])
    log.lags_at = place.sequence
    outcome = first.apply("shard-0000", [foreign])
    assert outcome.first_failed == place.sequence
    assert isinstance(outcome.error, BusyError)
    assert "does not give yet" in str(outcome.error)
    assert ArchiveLog(Archive.open(objects)).view(home).reaches("shard-0000") != place.sequence
    log.lags_at = None
    other = worker_of(log, objects, clock, whole=False)  # its lane's comes first
    assert other.apply("shard-0000", all_of(log, "shard-0000")[-1:]).error is None
    assert first.apply("shard-0000", [foreign]).error is None
    assert is_in(log, objects, "shard-0000", foreign)
