"""What the proofs of archives have found, and what was only thought of, each as its shortest story."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from binlog.archive.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.archive.cutter import Cutter
from binlog.clock import ManualClock
from binlog.columns import columns_of, encode_body
from binlog.control import params_envelope
from binlog.envelope import PUT_ITEM, Envelope
from binlog.frame import Header, Session, encode_frame
from binlog.lineage import Lineage, records_after
from binlog.log import Log
from binlog.objects import MemoryObjects
from binlog.params import genesis_hash
from binlog.reader import Reader
from binlog.testing.world.log import WorldLog
from binlog.testing.world.producers import PARAMS
from binlog.values import encode_value
from tests.proofs.forgetful import SLACK_MS, ForgetfulLog

ONCE = Archiving(once=True)


class Story:
    """A log that is written by hand, and an archive of it."""

    def __init__(self, *, kinesis: bool = False) -> None:
        """``kinesis``: partition 0 has a shard of its own to begin with."""
        self.clock = ManualClock(10_000)
        self.log = WorldLog(PARAMS, clock=self.clock, kinesis=kinesis)
        self.objects = MemoryObjects()
        self.archive = Archive.create(self.objects, PARAMS, self.log.genesis)
        self._families = 0

    def put(self, partition: int, *, first: int = 1, family: int = 0, size: int = 1) -> None:
        """One frame; of a new session unless ``family`` says of which."""
        self._families += 1
        named = (family or 1_000 + self._families).to_bytes(16, "big")
        key = encode_value({"id": "a"})
        data = encode_value({"id": "a", "text": "x" * size})
        event = Envelope(f"e{self._families}", PUT_ITEM, 1, "orders", key, data)
        self.append(partition, event, Session(named, 1), first)

    def append(self, partition: int, event: Envelope, session: Session, first: int = 1) -> None:
        header = Header(
            session=session,
            born_ms=self.clock.now_ms(),
            partition=partition,
            first=first,
            count=1,
            log_id=bytes.fromhex(PARAMS.log_id),
            genesis_hash=genesis_hash(self.log.genesis),
        )
        self.log.inject(partition, encode_frame(header, encode_body(columns_of([event]))))

    def keep(self, partitions: Iterable[int], *, cuts: int = 1 << 30) -> None:
        """An archiver that comes to these partitions, and no further."""
        lineage = Lineage(self.log)
        for partition in partitions:
            end = self.archive.chain(partition).end()
            root = lineage.root(partition)
            cutter = Cutter(
                PARAMS,
                self.log.genesis,
                partition,
                root=root,
                shard_of=lineage.find,
                end=end,
            )
            start = root if end is None else end.end.position
            for number, (shard, record) in enumerate(
                records_after(self.log, start, partition), start=1
            ):
                cutter.feed(shard, record)
                if number % cuts == 0:
                    self._write(cutter)
            if cutter.records:
                self._write(cutter)

    def _write(self, cutter: Cutter) -> None:
        cut = cutter.cut()
        assert self.objects.put_new(cut.key, cut.data)
        cutter.settle(cut)

    def alone(self) -> ArchiveLog:
        return ArchiveLog(Archive.open(self.objects))


def offsets(log: Log) -> dict[int, int]:
    """How far a reader of everything comes."""
    return {p: s.offset for p, s in drained(log).sequencers.items()}


def drained(log: Log) -> Reader:
    reader = Reader(log)
    while reader.read() is not None:
        pass
    return reader


def test_a_partition_that_was_quiet_in_a_shard_between_finds_its_way() -> None:
    """It split and merged without a record of it there, and the others had some."""
    story = Story()
    [first] = [shard.id for shard in story.log.shards()]
    left, right = story.log.split(first)
    for partition in (1, 2):
        story.put(partition)
    story.log.merge(left, right)
    for partition in range(3):
        story.put(partition)
    story.keep(range(3))
    assert offsets(story.alone()) == {0: 1, 1: 2, 2: 2}
    end = story.archive.chain(0).end()
    assert end is not None
    assert [shard.id for shard in end.shards] == [first, left, story.log.shards()[-1].id]


def test_who_is_behind_in_a_parent_keeps_nobody_from_the_child() -> None:
    """An archiver died before it came to partition 0; partitions 1 and 2 are archived beyond."""
    story = Story(kinesis=True)
    story.keep([0])
    story.log.merge(*[shard.id for shard in story.log.shards()])
    for partition in range(3):
        story.put(partition)
    story.keep([1, 2])
    log = story.alone()
    reader = drained(log)
    assert {p: s.offset for p, s in reader.sequencers.items()} == {0: 0, 1: 1, 2: 1}
    story.keep([0])
    while reader.read() is not None:
        pass
    assert {p: s.offset for p, s in reader.sequencers.items()} == {0: 1, 1: 1, 2: 1}


def test_a_frame_that_waits_is_kept_as_it_came() -> None:
    """Its bytes are in the state and count against the bounds: another length would halt elsewhere."""
    story = Story()
    story.put(0, family=7, first=2, size=9_000)
    story.keep(range(3))
    states = [
        {p: s.encode_state() for p, s in drained(log).sequencers.items()}
        for log in (story.log, story.alone())
    ]
    assert states[0] == states[1]
    end = story.archive.chain(0).end()
    assert end is not None
    assert end.end.state == states[0][0]
    story.put(0, family=7, first=1, size=9_000)
    story.keep(range(3))
    assert offsets(story.alone())[0] == 2


def test_what_a_params_record_changes_goes_on_in_the_next_segment() -> None:
    """Whoever begins at a segment's end begins with its state, and with no other bounds."""
    story = Story()
    change = params_envelope({"id_window": 9}, new_id=lambda: "change", now_ms=1)
    story.append(0, change, Session((5).to_bytes(16, "big"), 1))
    story.keep(range(3))
    story.put(0)
    story.keep(range(3))
    [*_, first, second] = story.archive.chain(0).segments()
    assert second.start == first.end.position
    reader = Reader(story.alone(), partitions=[0], starts={0: first.going_on()})
    assert reader.sequencers[0].params.id_window == 9
    while reader.read() is not None:
        pass
    assert reader.sequencers[0].encode_state() == second.end.state


@pytest.mark.parametrize("gone", ["nothing", "note", "notes"])
def test_a_quiet_partition_goes_on_behind_what_the_stream_forgot(gone: str) -> None:
    """Its last record is forgotten, and so are its shard, and the one after that; it was seen that
    nothing came. Without the note that says so it is refused, and never passed over."""
    story = Story()
    stream = ForgetfulLog(story.log)
    archive(stream.open(), story.archive, ONCE)
    [first] = [shard.id for shard in story.log.shards()]
    left, right = story.log.split(first)
    story.clock.advance(10 * SLACK_MS)
    stream.shards()  # it was closed by then
    story.put(1)
    child = story.log.merge(left, right)
    story.clock.advance(10 * SLACK_MS)
    stream.shards()
    archive(stream.open(), story.archive, ONCE)
    story.clock.advance(10 * SLACK_MS)
    archive(stream.open(), story.archive, ONCE)
    stream.forget(story.log.now_ms() - 5 * SLACK_MS)
    assert [shard.id for shard in stream.shards()] == [child]
    story.put(0)
    if gone != "nothing":
        story.objects.delete([f"seen/p{p:04d}.json" for p in range(1 if gone == "note" else 3)])
    if gone == "nothing":
        archive(stream.open(), story.archive, ONCE)
        assert offsets(story.alone()) == {0: 1, 1: 1, 2: 0}
        assert offsets(ArchivedLog(stream.open(), story.alone())) == {0: 1, 1: 1, 2: 0}
    else:
        with pytest.raises(Exception, match=r"forgotten|has left"):
            archive(stream.open(), story.archive, ONCE)
        assert story.archive.chain(0).end() is not None
        assert offsets(story.alone())[0] == 0


def test_who_waited_at_a_quiet_end_is_told_how_far_an_archiver_saw_it_meanwhile() -> None:
    """What a reader saw of the end itself is too old by then, and the record before it forgotten."""
    story = Story()
    stream = ForgetfulLog(story.log)
    story.put(0)
    archive(stream.open(), story.archive, ONCE)
    reader = Reader(ArchivedLog(stream.open(), story.alone()))
    while reader.read() is not None:
        pass
    story.clock.advance(4 * 3_600_000)
    archive(stream.open(), story.archive, ONCE)
    stream.forget(story.log.now_ms() - 5 * SLACK_MS)
    story.put(0)
    given = reader.read()
    assert given is not None
    assert [run.first_offset for run in given] == [2]
