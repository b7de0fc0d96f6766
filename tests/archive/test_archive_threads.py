"""What an archiver does at once: compressing, reading and writing wait for each other no more than needed."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress

import msgspec
import pytest

from binlog.archive import Archive, threads
from binlog.archive.compression import compress
from binlog.archive.cutter import Cutter
from binlog.archive.threads import Threads
from binlog.archive.writer import WRITES_AT_ONCE, Call, Writer
from binlog.clock import ManualClock
from binlog.errors import StorageError
from binlog.lineage import Lineage, records_after
from binlog.log import Log
from binlog.logs.memory import MemoryLog
from binlog.objects.memory import MemoryObjects
from tests.archive.archive_world import assert_whole
from tests.log.log_frames import PARAMS, put

WAIT_S = 60.0  # for what happens at once, unless the test fails
HELD_S = 20.0  # a block, unless somebody else does the rest
PARTITIONS = 12
MANY = msgspec.structs.replace(PARAMS, partitions=PARTITIONS)


class Slow:
    """In place of `compress`: the first block of all takes until it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.done = threading.Event()
        self.by: list[str] = []

    def __call__(self, data: bytes) -> bytes:
        is_first = not self.by
        self.by.append(threading.current_thread().name)
        if is_first:
            self.begun.set()
            assert self.done.wait(HELD_S), "nobody else did the rest"
        elif len(self.by) == 5:
            self.done.set()
        return compress(data)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """One thread that compresses, whatever the machine."""
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    found = Slow()
    monkeypatch.setattr(threads, "compress", found)
    return found


def test_who_waits_for_a_block_compresses_the_others_meanwhile(slow: Slow) -> None:
    """Else half of a machine of two stands still at the end of each run."""
    blocks = [bytes([number]) * 1000 for number in range(5)]
    pools = Threads()
    with pools:
        waits = [pools.compress_later(blocks[0])]
        assert slow.begun.wait(WAIT_S)
        waits += [pools.compress_later(block) for block in blocks[1:]]
        assert [wait() for wait in waits] == [compress(block) for block in blocks]
        assert [wait() for wait in waits] == [compress(block) for block in blocks], "once more"
    mine = threading.current_thread().name
    assert slow.by[0].startswith("binlog-compress")
    assert slow.by[1:] == [mine] * 4


def test_each_block_is_compressed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the thread or by who waits, whoever comes to it first."""
    seen: list[bytes] = []

    def counted(data: bytes) -> bytes:
        seen.append(data)
        return compress(data)

    monkeypatch.setattr(threads, "compress", counted)
    blocks = [number.to_bytes(2, "big") * 200 for number in range(300)]
    pools = Threads()
    with pools:
        waits = [pools.compress_later(block) for block in blocks]
        assert [wait() for wait in waits] == [compress(block) for block in blocks]
    assert sorted(seen) == blocks


def at_the_end(pool: ThreadPoolExecutor, act: Callable[[], None]) -> None:
    """When a pool takes nothing any more, and what was queued is given up."""
    pause = threading.Event()
    with suppress(RuntimeError):
        while not pause.wait(0.001):
            pool.submit(int)
    act()


def test_what_nobody_waited_for_ends_with_the_run(slow: Slow) -> None:
    """Not a block stays in memory, and not a thread."""
    before = set(threading.enumerate())
    pools = Threads()
    with pools:
        pools.compress_later(b"a")
        assert slow.begun.wait(WAIT_S)
        left = pools.compress_later(b"b")
        assert pools._compress is not None
        ending = threading.Thread(target=at_the_end, args=(pools._compress, slow.done.set))
        ending.start()
    ending.join()
    with pytest.raises(CancelledError):
        left()
    assert not pools._blocks
    assert len(slow.by) == 1
    assert not set(threading.enumerate()) - before
    assert pools.compress_later(b"c")() == compress(b"c"), "in the caller's own"


def test_what_goes_wrong_is_raised_where_it_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread has nobody to tell."""

    def fails(data: bytes) -> bytes:
        raise MemoryError(data)

    monkeypatch.setattr(threads, "compress", fails)
    pools = Threads()
    with pools:
        wait = pools.compress_later(b"a")
        with pytest.raises(MemoryError):
            wait()


# -- writes --------------------------------------------------------------------------------------


class Watched(MemoryObjects):
    """What is written at the same time. ``together``: none ends before as many are there.

    ``refused``: the first ends at once, one fails, and the others end when nobody waits for them, or
    a while after whoever wrote was told.
    """

    def __init__(self, *, together: int = 1, refused: str = "") -> None:
        super().__init__()
        self.most = 0
        self.ended: list[str] = []
        self._now = 0
        self._refused = refused
        self._counting = threading.Lock()
        self._meeting = threading.Barrier(together)
        self.told = threading.Event()
        self.left = threading.Event()

    def put_new(self, key: str, data: bytes) -> bool:
        if not key.startswith("chain/"):
            return super().put_new(key, data)
        with self._counting:
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            if self._refused and self._refused in key:
                raise StorageError("no answer", key)
            if self._refused and "p0000/" not in key:
                assert self.told.wait(WAIT_S)
                self.left.wait(0.3)
            self._meeting.wait(WAIT_S)
            return super().put_new(key, data)
        finally:
            with self._counting:
                self._now -= 1
            self.ended.append(key)


@pytest.fixture
def log() -> Log:
    """A few records of each of many partitions."""
    found = MemoryLog(MANY, clock=ManualClock())
    for number in (1, 2):
        found.append([put(number, partition=p, params=MANY) for p in range(PARTITIONS)])
    return found


def fed(log: Log, objects: MemoryObjects, later: Callable[..., object]) -> Iterator[Cutter]:
    """A cutter of each partition, with all that the log has."""
    lineage = Lineage(log)
    for partition in range(PARTITIONS):
        cutter = Cutter(
            log.params,
            log.genesis,
            partition,
            root=lineage.root(partition),
            shard_of=lineage.find,
            later=later,  # type: ignore[arg-type]
        )
        for shard, record in records_after(log, cutter.position, partition):
            cutter.feed(shard, record)
        yield cutter


def test_all_partitions_are_being_compressed_before_one_is_waited_for(log: MemoryLog) -> None:
    """Of many small segments each is one block: one by one, nothing would be done at once."""
    told: list[str] = []

    def later(data: bytes) -> Callable[[], bytes]:
        told.append("begun")

        def wait() -> bytes:
            told.append("waited for")
            return compress(data)

        return wait

    objects = MemoryObjects()
    into = Archive.create(objects, log.params, log.genesis)
    Writer(log, into).write(list(fed(log, objects, later)))
    assert told[:PARTITIONS] == ["begun"] * PARTITIONS
    assert told[PARTITIONS:] == ["waited for"] * PARTITIONS
    assert_whole(log, into)


def test_so_many_segments_are_written_at_once_and_no_more(log: MemoryLog) -> None:
    """Each is twice in memory meanwhile."""
    objects = Watched(together=4)
    into = Archive.create(objects, log.params, log.genesis)
    pools, told = Threads(), []
    with pools:
        cutters = list(fed(log, objects, pools.compress_later))
        Writer(log, into, later=pools.write_later).write(cutters, lambda w: told.append(w.info))
    assert [info.partition for info in told] == list(range(PARTITIONS))
    assert 4 <= objects.most <= WRITES_AT_ONCE < PARTITIONS
    assert_whole(log, into)


def test_a_segment_is_settled_before_a_ninth_is_cut(log: MemoryLog) -> None:
    """With no threads, too."""
    under_way: list[int] = [0]
    most = 0

    def later(call: Call) -> Call:
        nonlocal most
        under_way[0] += 1
        most = max(most, under_way[0])
        is_new = call()

        def wait() -> bool:
            under_way[0] -= 1
            return is_new

        return wait

    objects = MemoryObjects()
    into = Archive.create(objects, log.params, log.genesis)
    Writer(log, into, later=later).write(list(fed(log, objects, Threads().compress_later)))
    assert most == WRITES_AT_ONCE
    assert under_way == [0]
    assert_whole(log, into)


def test_nobody_writes_any_more_when_an_error_is_raised(log: MemoryLog) -> None:
    """Whoever goes on, or ends the process, is to know that nothing is under way."""
    objects = Watched(refused="p0001/")
    into = Archive.create(objects, log.params, log.genesis)
    pools, told = Threads(), []

    def later(call: Call) -> Call:
        wait = pools.write_later(call)

        def wait_for_it() -> bool:
            try:
                return wait()
            except StorageError:
                objects.told.set()
                raise

        return wait_for_it

    with pools:
        cutters = list(fed(log, objects, pools.compress_later))
        writer = Writer(log, into, later=later)
        with pytest.raises(StorageError, match="no answer"):
            writer.write(cutters, lambda w: told.append(w.info.partition))
        ended = len(objects.ended)
        objects.left.set()
        assert ended >= WRITES_AT_ONCE, "and each of them has ended"
        assert objects.most <= WRITES_AT_ONCE
        assert told == [0], "what came before it"
