"""What only the directory log does: segments, its lock, its clock's warnings, a hostile world."""

from __future__ import annotations

import errno
import shutil
import threading
from pathlib import Path

import pytest

from binlog.clock import ManualClock
from binlog.errors import BusyError, MismatchError, RefusedError, StorageError, TooLargeError
from binlog.log import Appended, Failed, Position, Put
from binlog.logs import DirectoryLog, check_directory_log, create_directory_log
from binlog.logs.block import BLOCK_BYTES_MAX
from binlog.logs.filesystem import REAL, RealFileSystem
from binlog.logs.note import Note
from binlog.params import Params
from tests.contracts.log_contract import appended, events, read_all
from tests.log.directory_world import DIRECTORY, SEGMENT_BYTES
from tests.log.directory_world import PARAMS as WORLD_PARAMS
from tests.log.filesystem_double import Killed, Loss, Machine, Process
from tests.log.log_frames import PARAMS, frame, put


@pytest.fixture
def path(tmp_path: Path) -> Path:
    create_directory_log(tmp_path / "log", PARAMS, clock=ManualClock())
    return tmp_path / "log"


def opened(path: Path, **options: object) -> DirectoryLog:
    settings = {"clock": ManualClock(), "lock_wait_s": 0, **options}
    return DirectoryLog(path, **settings)  # type: ignore[arg-type]


def simulated(machine: Machine, process: Process | None = None) -> DirectoryLog:
    return DirectoryLog(
        DIRECTORY,
        fs=process or machine.process(),
        clock=ManualClock(),
        segment_bytes=SEGMENT_BYTES,
        lock_wait_s=0,
        pause=lambda _: None,
    )


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    create_directory_log(DIRECTORY, WORLD_PARAMS, fs=made.process(), clock=ManualClock())
    return made


def wput(number: int, **rest: object) -> Put:
    return put(number, params=WORLD_PARAMS, **rest)  # type: ignore[arg-type]


# -- segments ------------------------------------------------------------------------------------


def test_segments_follow_each_other_without_a_gap(path: Path) -> None:
    """Each is named by the position of its first byte; a sequence number is a position, too."""
    with opened(path, segment_bytes=4_000) as log:
        replies = [appended(log.append([put(n), put(n, partition=1)])) for n in range(1, 40)]
    segments = sorted(path.glob("*.seg"))
    assert len(segments) > 3
    ends = [int(segment.stem) + segment.stat().st_size for segment in segments]
    assert [int(segment.stem) for segment in segments[1:]] == ends[:-1]
    assert all(segment.stat().st_size <= 4_000 for segment in segments)
    for first, second in replies:
        assert second.position.sequence == first.position.sequence + 8
        log = opened(path)
        assert f"byte {first.position.sequence}" in log.locate(first.position) or len(segments) > 1
        log.close()


def test_writers_may_differ_about_the_size_of_segments(path: Path) -> None:
    """It is an option of an open log, not pinned: the note says where the log goes on."""
    small, large = opened(path, segment_bytes=100), opened(path)
    for number in range(1, 20):
        appended((small if number % 3 else large).append([put(number)]))
    assert len(events(large)) == 19
    small.close()
    large.close()
    assert len(sorted(path.glob("*.seg"))) > 10


def test_a_commit_has_a_largest_size(path: Path) -> None:
    full = frame()
    full += bytes(PARAMS.frame_bytes_max - len(full))
    with opened(path) as log:
        with pytest.raises(TooLargeError, match=str(BLOCK_BYTES_MAX)):
            log.append([Put(0, full)] * 64)
        appended(log.append([Put(0, full)] * 63))
        # In one page: a block is read whole for each, and 64 times so much takes a while.
        assert len(read_all(log, bytes_max=BLOCK_BYTES_MAX)) == 63 + PARAMS.partitions


def test_an_open_log_does_not_depend_on_the_working_directory(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(Path("log")) as log:
        monkeypatch.chdir("/")
        log.append([put(1)])
        assert len(events(log)) == 1
        assert log.name == "file:log"


# -- the lock ------------------------------------------------------------------------------------


class Holder:
    """Another process that has the append lock."""

    def __init__(self, path: Path | str, fs: Process | RealFileSystem = REAL) -> None:  # type: ignore[assignment]
        self.fs = fs
        self.fd = fs.open(f"{path}/lock", 2)
        fs.flock(self.fd, 2 | 4)

    def release(self) -> None:
        self.fs.close(self.fd)


def test_an_append_gives_up_waiting_for_the_lock(path: Path) -> None:
    """A stopped process must not stop the others without a word."""
    holder = Holder(path)
    clock = ManualClock()
    log = opened(path, clock=clock, lock_wait_s=3, pause=lambda s: clock.advance(int(s * 1e3) + 1))
    start = clock.now_ms()
    [reply] = log.append([put(1)])
    assert isinstance(reply, Failed)
    assert isinstance(reply.error, BusyError)
    assert (reply.untouched, reply.final) == (True, False)
    assert 3_000 <= clock.now_ms() - start < 3_100
    with pytest.raises(BusyError):
        log.settle()
    holder.release()
    appended(log.append([put(1)]))
    log.close()


def test_who_gives_the_lock_back_cannot_take_it_before_the_one_who_waits(path: Path) -> None:
    """Else a busy appender would starve all the others."""
    busy = opened(path)
    outcomes: list[object] = []

    def while_waiting(_: float) -> None:
        if not holding.is_set():
            return
        holding.clear()
        holder.release()
        outcomes.extend(busy.append([put(1, session=2)]))  # at once, and in vain

    holding = threading.Event()
    holding.set()
    holder = Holder(path)
    with opened(path, lock_wait_s=1e6, pause=while_waiting) as waiting:
        appended(waiting.append([put(1)]))
    [outcome] = outcomes
    assert isinstance(outcome, Failed)
    appended(busy.append([put(1, session=2)]))
    busy.close()


def test_a_removed_lock_file_lets_nobody_in_twice(path: Path) -> None:
    """Two processes on two files of that name would write over each other."""
    first = opened(path)
    appended(first.append([put(1)]))
    (path / "lock").unlink()
    second = opened(path)
    holder = Holder(path)
    for log in (first, second):
        [reply] = log.append([put(1, session=2)])
        assert isinstance(reply, Failed)
    holder.release()
    first.close()
    second.close()


def test_a_log_put_in_the_place_of_an_open_one_is_left_alone(path: Path, tmp_path: Path) -> None:
    """Its blocks name another log; to the open one they would be a torn tail, to be cut."""
    stale = opened(path)
    appended(stale.append([put(1)]))
    path.rename(tmp_path / "away")
    other = Params(log_id="88" * 16, partitions=4)
    create_directory_log(path, other, clock=ManualClock())
    with opened(path) as log:
        for number in range(1, 9):
            appended(log.append([put(number, params=other)]))
        records = read_all(log)
    shutil.rmtree(tmp_path / "away")
    with pytest.raises(MismatchError, match="open it again"):
        stale.append([put(2)])
    with opened(path) as log:
        assert read_all(log) == records
    assert list(check_directory_log(path)) == []
    stale.close()


def test_readers_without_the_lock_give_what_is_noted(machine: Machine) -> None:
    """What a writer is about to make durable is its business until it is noted."""
    writer = machine.process()
    log = simulated(machine, writer)
    [first] = appended(log.append([wput(1)]))
    writer.armed = ("fdatasync", "dropped")
    [reply] = log.append([wput(2)])
    assert isinstance(reply, Failed)
    assert not reply.untouched
    holder = Holder(DIRECTORY, machine.process())
    reader = simulated(machine)
    assert [r.sequence for r in events(reader)] == [first.position.sequence]
    beyond = Position("0", first.position.sequence + 200)
    assert reader.read(beyond).caught_up, "not called ahead of its log by the note alone"
    holder.release()
    assert len(events(reader)) == 2
    with pytest.raises(MismatchError, match="beyond the end"):
        reader.read(Position("0", first.position.sequence + 100_000))


# -- clocks --------------------------------------------------------------------------------------


def test_a_clock_well_behind_the_log_is_warned_about_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Some writer's clock was ahead, and the log's time stands still until it is passed."""
    clock = ManualClock()
    log = opened(path, clock=clock)
    clock.advance(60_000)
    log.append([put(1)])
    clock.advance(-5_000)
    log.append([put(2)])
    assert caplog.messages == []
    clock.advance(-1)
    log.append([put(3)])
    log.append([put(4)])
    [message] = caplog.messages
    assert message.startswith("event='clock.behind'")
    assert "behind_ms=5001" in message
    log.close()


# -- the operating system says no ----------------------------------------------------------------


@pytest.mark.parametrize("fault", ["full", "full half-way"])
def test_a_full_disk_fails_the_append_and_keeps_what_was_acknowledged(
    machine: Machine, fault: str
) -> None:
    """Certainly not written, and no use to try again at once."""
    process = machine.process()
    log = simulated(machine, process)
    appended(log.append([wput(1)]))
    process.armed = ("pwrite", fault)
    [reply] = log.append([wput(2)])
    assert isinstance(reply, Failed)
    assert (reply.untouched, reply.final) == (True, True)
    assert isinstance(reply.error, StorageError)
    assert reply.error.details["errno"] == errno.ENOSPC
    assert "make room" in str(reply.error)
    machine.lose_power(Loss("all", "all"))
    assert len(events(simulated(machine))) == 1


def test_a_failed_fsync_leaves_the_outcome_open_and_a_retry_decides_it(machine: Machine) -> None:
    """The same bytes again: they are in the log once, whether the first try got there or not."""
    for fault in ("dropped", "evicted", "half written"):
        process = machine.process()
        log = simulated(machine, process)
        before = len(events(log))
        for number, born in ((1, 0), (2, ManualClock().now_ms())):
            sent = wput(number, session=before + 1, born_ms=born)
            process.armed = ("fdatasync", fault)
            [reply] = log.append([sent])
            assert isinstance(reply, Failed)
            assert (reply.untouched, reply.final) == (False, False)
            [again] = log.append([Put(sent.partition, sent.data, tried=True)])
            assert isinstance(again, Appended)
        assert len(events(log)) == before + 2


def test_a_read_only_log_gives_what_is_noted(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    """Recovery writes, so what is after the note stays there; the user is told."""
    log = simulated(machine)
    appended(log.append([wput(1)]))
    writer = machine.process()
    log = simulated(machine, writer)
    writer.armed = ("fdatasync", "kill")
    with pytest.raises(Killed):
        log.append([wput(2)])
    writer.die()
    reader = machine.process()
    reader.read_only = True
    log = simulated(machine, reader)
    assert len(events(log)) == 1
    assert len(events(log)) == 1
    [message] = caplog.messages
    assert message.startswith("event='tail.unproved'")
    [reply] = log.append([wput(3)])
    assert isinstance(reply, Failed)
    assert (reply.untouched, reply.final) == (True, True)


def test_settle_decides_what_others_left_behind(machine: Machine) -> None:
    """Then each frame that was ever tried is there, or never will be by itself (P5)."""
    writer = machine.process()
    log = simulated(machine, writer)
    writer.armed = ("fdatasync", "evicted")
    [reply] = log.append([wput(1)])
    assert isinstance(reply, Failed)
    other = simulated(machine)
    other.settle()
    assert events(other) == []
    machine.lose_power(Loss("all", "all"))
    assert events(simulated(machine)) == []


def test_a_position_inside_a_frame_is_refused(path: Path) -> None:
    """Neither damage nor a place to begin."""
    with opened(path) as log:
        [reply] = appended(log.append([put(1)]))
        for wrong in (1, 59, 61, reply.position.sequence + 1, reply.position.sequence - 60):
            with pytest.raises(RefusedError, match="no record"):
                log.read(Position("0", wrong))


def test_readers_in_several_threads_do_not_take_each_other_beyond_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that looked at the note before the last commit wrote its older end over the newer one;
    the other, at the newer end, was told that its position lies beyond the log."""
    with opened(path) as log, opened(path) as writer:
        before = log.read(Position("0", -1)).next
        peek = log._tail.peek
        places = []

        def peek_and_be_overtaken() -> Note:
            note = peek()
            monkeypatch.undo()
            appended(writer.append([put(1)]))
            places.append(log.read(before).next)
            return note

        monkeypatch.setattr(log._tail, "peek", peek_and_be_overtaken)
        assert log.read(before).next == places[0]
        assert log.read(places[0]).records == []
        with pytest.raises(MismatchError, match="beyond the end"):
            log.read(Position("0", places[0].sequence + 10_000))


class RacedFileSystem(RealFileSystem):
    """Lists a directory as ext4 does while two segments are made: the later one, and not both."""

    def __init__(self) -> None:
        self.listings = 0

    def listdir(self, path: str) -> list[str]:  # type: ignore[override]
        self.listings += 1
        names = sorted(RealFileSystem.listdir(path))
        missed = [name for name in names if name.endswith(".seg")][-2]
        return [name for name in names if self.listings % 2 == 0 or name != missed]


def test_a_segment_left_out_of_a_list_that_was_raced_is_not_lost(path: Path) -> None:
    """With four busy writers a reader met it every minute, and a healthy log was called damaged."""
    with opened(path, segment_bytes=1) as writer:
        for number in range(1, 6):
            appended(writer.append([put(number)]))
    assert len(list(path.glob("*.seg"))) > 3
    with DirectoryLog(path, fs=RacedFileSystem()) as log:
        assert len(read_all(log)) == 4 + 5
