"""P5: an unknown outcome is decided by the sequencer, and never by the mere presence of a record."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from binlog.clock import ManualClock
from binlog.control import noop_frame
from binlog.errors import UnknownOutcomeError
from binlog.frame import decode_header
from binlog.log import Failed, Put, Reply
from binlog.logs import DirectoryLog, create_directory_log
from binlog.logs.chaos import Fate
from binlog.logs.memory import MemoryLog
from binlog.params import Params
from binlog.producer import (
    Delivery,
    Frame,
    Outcome,
    Producer,
    ProducerOptions,
    Resolved,
    Verdict,
    resolve,
)
from binlog.reader import Reader, Start
from tests.producer.desk import PARAMS, event, key_in

KEY = key_in(0)
OTHER = key_in(1)
OPTIONS = ProducerOptions(give_up_s=0.001, retry_first_s=0.0005, retry_most_s=0.0005)
L_MS = PARAMS.session_life_ms
WAIT_S = 60.0  # for what happens at once, unless the test fails


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def log(clock: ManualClock) -> MemoryLog:
    return MemoryLog(PARAMS, clock=clock)


def unknown(log: MemoryLog, producer: Producer, fate: Fate, name: str = "a") -> Frame:
    """Publish an event that meets ``fate`` and then only lost attempts; its frame."""
    log.script(fate, *[Fate.LOSE] * 1_000)
    with pytest.raises(UnknownOutcomeError) as e:
        producer.append(event(KEY, name))
    log._fates.clear()
    return frame_of(e.value)


def frame_of(error: UnknownOutcomeError) -> Frame:
    """The frame of the one event that an error is about."""
    [delivery] = cast(tuple[Delivery, ...], error.details["deliveries"])
    assert delivery.outcome is Outcome.UNKNOWN
    assert delivery.frame is not None
    return delivery.frame


def begun(log: MemoryLog, **options: Any) -> Producer:
    """A producer whose session lives and has an acknowledged event."""
    producer = Producer(log, options=msgspec.structs.replace(OPTIONS, **options))
    log.script(Fate.LAND)
    producer.append(event(KEY, "first"))
    return producer


def verdict(found: dict[Frame, Resolved], frame: Frame) -> tuple[Verdict, str]:
    return found[frame].verdict, found[frame].why


def test_a_frame_whose_reply_was_lost_is_acknowledged(log: MemoryLog) -> None:
    """The commonest unknown; and it is forgotten once it is decided."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LOSE_REPLY)
    assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED
    assert producer.resolve() == {}


def test_a_frame_that_may_still_land_is_undecided(log: MemoryLog) -> None:
    """Never guess: it may be on its way for the whole life of its session."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LATE)
    assert verdict(producer.resolve(), frame) == (
        Verdict.UNDECIDED,
        "it may land yet; ask again after its session's life",
    )
    log.land()
    assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED


def test_a_ghost_that_lands_after_its_session_was_closed_counts_for_nothing(
    log: MemoryLog,
) -> None:
    """It is in the log: presence taken for accepted would be a lost event."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LATE)
    producer.append(event(KEY, "next"))  # a new generation
    log.land()
    assert verdict(producer.resolve(), frame) == (
        Verdict.NEVER,
        "a later generation closed its session",
    )


def test_a_later_generation_in_another_partition_closes_nothing_here(log: MemoryLog) -> None:
    """Generations are closed partition by partition."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LATE)
    producer.append(event(OTHER, "next"))
    assert producer.resolve()[frame].verdict is Verdict.UNDECIDED


def test_time_decides_on_a_quiet_log_with_the_help_of_a_no_op(
    log: MemoryLog, clock: ManualClock
) -> None:
    """To the millisecond: at born + L it may still be accepted, just after it cannot."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LATE)
    clock.advance(frame.born_ms + L_MS - clock.now_ms())
    records = len(log.records(0))
    assert producer.resolve()[frame].verdict is Verdict.UNDECIDED
    assert len(log.records(0)) == records
    clock.advance(1)
    assert verdict(producer.resolve(), frame) == (Verdict.NEVER, "its session has expired")
    assert len(log.records(0)) == records + 1
    log.land()  # and indeed:
    runs = [run.columns.ids for run in iter_runs(log)]
    assert ["a"] not in runs


def iter_runs(log: MemoryLog) -> list[Any]:
    reader, found = Reader(log), []
    while (runs := reader.read()) is not None:
        found += runs
    return found


def test_no_no_op_is_written_where_the_log_moves_by_itself(
    log: MemoryLog, clock: ManualClock
) -> None:
    """A no-op takes an offset in everybody's log: only where nothing else helps."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LATE)
    clock.advance(L_MS + 1_000)
    noop = noop_frame(PARAMS, log.genesis, 0, family=b"somebody else...", now_ms=1)
    log.append([Put(0, noop)])
    records = len(log.records(0))
    assert producer.resolve()[frame].verdict is Verdict.NEVER
    assert len(log.records(0)) == records


def test_a_frame_of_a_session_that_nobody_knows_the_birth_of_is_decided_too(
    log: MemoryLog, clock: ManualClock
) -> None:
    """The very first frame failed: it was stamped before the question was asked, if at all."""
    producer = Producer(log, options=OPTIONS)
    frame = unknown(log, producer, Fate.LATE)
    assert frame.born_ms == 0
    assert producer.resolve()[frame].verdict is Verdict.UNDECIDED
    clock.advance(L_MS + 1)
    assert producer.resolve()[frame].verdict is Verdict.NEVER
    assert producer.resolve() == {}


def test_a_copy_dropped_by_the_id_window_is_acknowledged(log: MemoryLog) -> None:
    """The event is there, if not by this frame."""
    begun(log, id_window=True).append(event(KEY, "a"))
    producer = begun(log, id_window=True)
    frame = unknown(log, producer, Fate.LOSE_REPLY, "a")
    assert [r.columns.ids for r in iter_runs(log)].count(["a"]) == 1
    assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED


def test_a_frame_behind_a_halt_is_undecided_and_one_before_it_is_not(log: MemoryLog) -> None:
    """Nobody knows how the halt will be resolved; what was numbered before it stands."""
    producer = begun(log)
    before = unknown(log, producer, Fate.LOSE_REPLY, "a")
    log.inject(0, b"no frame at all")
    behind = unknown(log, producer, Fate.LOSE_REPLY, "b")
    found = producer.resolve()
    assert found[before].verdict is Verdict.ACKNOWLEDGED
    assert verdict(found, behind) == (
        Verdict.UNDECIDED,
        "its partition is halted (binlog halted)",
    )


def test_a_frame_that_is_held_for_its_predecessor_is_undecided(log: MemoryLog) -> None:
    """It is in the log and it is not numbered: what it waits for may be lost, or may come."""
    producer = begun(log)
    kept = log._shards  # the first frame's record is taken out, as if it were still on its way
    [shard] = kept.values()
    taken = [r for r in shard.records if r.partition == 0 and decode_header(r.data).first == 1]
    shard.records[:] = [r for r in shard.records if r not in taken]
    frame = unknown(log, producer, Fate.LOSE_REPLY)
    assert verdict(producer.resolve(), frame) == (
        Verdict.UNDECIDED,
        "in the log, held for an earlier frame",
    )
    log.inject(0, taken[0].data)
    assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED


def test_a_checkpoint_is_a_start_only_if_it_is_older_than_the_session(
    log: MemoryLog, clock: ManualClock
) -> None:
    """From a younger one an accepted, closed and forgotten frame would look like none."""
    old = checkpoint(log)
    clock.advance(PARAMS.born_tolerance_ms + 1)
    producer = begun(log)
    frame = unknown(log, producer, Fate.LOSE_REPLY)
    producer.append(event(KEY, "next"))
    young = checkpoint(log)
    assert resolve(log, [frame], starts=old)[frame].verdict is Verdict.ACKNOWLEDGED
    assert verdict(resolve(log, [frame], starts=young), frame) == (
        Verdict.UNDECIDED,
        "the checkpoint is younger than its session",
    )


def checkpoint(log: MemoryLog) -> dict[int, Start]:
    reader = Reader(log)
    while reader.read() is not None:
        pass
    found = {p: reader.checkpoint(p) for p in reader.partitions}
    return {p: Start(c.position, c.state, c.applied) for p, c in found.items()}


def test_a_checkpoint_that_knows_the_session_can_tell_without_a_further_record(
    log: MemoryLog, clock: ManualClock
) -> None:
    """The log may be quiet behind it: an accepted frame said to be lost would be sent again."""
    producer = begun(log)
    frame = unknown(log, producer, Fate.LOSE_REPLY)
    assert verdict(resolve(log, [frame], starts=checkpoint(log)), frame) == (
        Verdict.ACKNOWLEDGED,
        "accepted, or a copy of what is there",
    )


def test_an_unknown_birth_never_makes_a_checkpoint_old_enough(
    log: MemoryLog, clock: ManualClock
) -> None:
    """That a session was born before now says nothing about whether the checkpoint has seen it."""
    producer = Producer(log, options=OPTIONS)
    frame = unknown(log, producer, Fate.LOSE_REPLY)
    assert frame.born_ms == 0
    producer.append(event(KEY, "next"))  # closes the session, and the state forgets it
    starts = checkpoint(log)
    clock.advance(PARAMS.born_tolerance_ms + 1)
    producer.append(event(KEY, "later"))
    assert producer.resolve(starts=starts)[frame].verdict is Verdict.UNDECIDED
    assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED


# -- on a directory log: at once -----------------------------------------------------------------


class FlakyDirectoryLog(DirectoryLog):
    """A directory log that fails after, or instead of, a commit."""

    fails: str = ""

    def append(self, frames: Any) -> list[Reply]:
        if not self.fails:
            return super().append(frames)
        if self.fails == "after":
            super().append(frames)
        return [Failed(OSError("no sync"), final=True)] * len(frames)


@pytest.mark.parametrize(
    ("fails", "wanted"), [("after", Verdict.ACKNOWLEDGED), ("instead", Verdict.NEVER)]
)
def test_a_directory_log_decides_at_once(tmp_path: Path, fails: str, wanted: Verdict) -> None:
    """Under its append lock, after recovery, nothing can be on its way."""
    create_directory_log(tmp_path / "log", Params(log_id="ef" * 16, partitions=4))
    with FlakyDirectoryLog(tmp_path / "log") as log, Producer(log) as producer:
        producer.append(event(KEY, "first"))
        log.fails = fails
        with pytest.raises(UnknownOutcomeError) as e:
            producer.append(event(KEY, "a"))
        log.fails = ""
        frame = frame_of(e.value)
        assert producer.resolve() == {frame: producer_why(wanted)}
        size = log.size_bytes()
        assert producer.resolve([frame])[frame].verdict is wanted
        assert log.size_bytes() == size  # no no-op was needed


class SlowDirectoryLog(DirectoryLog):
    """A directory log whose next append waits, before it has the lock, until it is let go."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.entered, self.let_go = threading.Event(), threading.Event()

    def append(self, frames: Any) -> list[Reply]:
        if frames[0].partition == 0:
            self.entered.set()
            assert self.let_go.wait(WAIT_S)
        return super().append(frames)


def test_a_frame_whose_attempt_has_not_ended_is_undecided(tmp_path: Path) -> None:
    """Given up by its deadline while the call still waits for the disk: it will land yet."""
    create_directory_log(tmp_path / "log", Params(log_id="ef" * 16, partitions=4))
    with SlowDirectoryLog(tmp_path / "log") as log:
        producer = Producer(log, options=OPTIONS)
        future = producer.publish(event(KEY, "a"))
        assert log.entered.wait(WAIT_S)
        with pytest.raises(TimeoutError):
            producer.flush(0.01)  # time passes: the frame is given up
        producer.close(0.0)
        [frame] = producer._unknown
        assert verdict(producer.resolve(), frame) == (
            Verdict.UNDECIDED,
            "an attempt to send it has not ended",
        )
        log.let_go.set()
        with pytest.raises(UnknownOutcomeError):
            future.result(WAIT_S)
        producer._thread.join(WAIT_S)  # type: ignore[union-attr]
        assert producer.resolve()[frame].verdict is Verdict.ACKNOWLEDGED


def producer_why(wanted: Verdict) -> Resolved:
    why = {
        Verdict.ACKNOWLEDGED: "accepted, or a copy of what is there",
        Verdict.NEVER: "not in the log, and nothing of it is on its way",
    }
    return Resolved(wanted, why[wanted])
