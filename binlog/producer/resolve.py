"""Deciding what nobody could say: whether an unknown frame is in the log, and counts (P5).

The sequencer decides, never the mere presence of a record: a ghost that lands after its session
was closed is in the log, and counts for nothing. It is run over the frame's partition, and a frame

* is *acknowledged* if it was accepted, or dropped by the id window as a copy of what is there;
* is *never* to count, once the partition's mark exceeds ``born + L``, or a later generation closed
  its session, or the log itself can say that nothing of it is on its way (a directory log, whose
  `settle` repairs what earlier appends left behind). It may be published again, in any session;
* else is *undecided*: it may land yet, is held, or lies behind a halt. Ask again later.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import Protocol, runtime_checkable

import msgspec

from binlog.arrival import Decisions
from binlog.control import noop_frame
from binlog.horizon import horizon_of
from binlog.log import Log, Put, Record
from binlog.producer.outcome import Frame
from binlog.reader import Reader, Start
from binlog.run import Run
from binlog.sequencer import Sequencer
from binlog.sequencer_state import SequencerState

_UNDECIDED: Decisions = {}


class Verdict(Enum):
    """What became of a frame after all."""

    ACKNOWLEDGED = "acknowledged"
    NEVER = "never"
    UNDECIDED = "undecided"


class Resolved(msgspec.Struct, frozen=True, gc=False):
    """A verdict and what it rests on."""

    verdict: Verdict
    why: str


@runtime_checkable
class Settling(Protocol):
    """A log that knows what is on its way into it."""

    def settle(self) -> None:
        """On return each frame that was ever tried is readable, or never will be by itself."""


def resolve(
    log: Log,
    frames: Iterable[Frame],
    *,
    starts: Mapping[int, Start] | None = None,
    born_by: Mapping[Frame, int] | None = None,
) -> dict[Frame, Resolved]:
    """A verdict on each frame that a producer reported as unknown and no longer sends.

    Reads the partitions of the frames: from ``starts``, checkpoints that must be older than the
    frames' sessions, or know them, or else from the genesis. ``born_by`` says of a frame without
    ``born_ms`` when its session was born at the latest, in the log's time. On a log without
    `Settling` it may append a no-op, to move the mark of a partition that has grown quiet.

    Raises:
        What `Log.read` and `Log.append` do; nothing is decided then.
    """
    wanted = list(dict.fromkeys(frames))
    if not wanted:
        return {}
    is_settled = isinstance(log, Settling)
    if isinstance(log, Settling):
        log.settle()
    reader = Reader(log, partitions={frame.partition for frame in wanted}, starts=starts)
    watchers: dict[int, _Watcher] = {}
    for partition in reader.partitions:
        mine = [frame for frame in wanted if frame.partition == partition]
        start = None if starts is None else starts.get(partition)
        watcher = _Watcher(
            log, partition, None if start is None else start.state, mine, born_by or {}
        )
        reader.sequencers[partition] = watchers[partition] = watcher
    _read_all(log, reader)
    if not is_settled and _move_marks(log, watchers.values()):
        _read_all(log, reader)
    return {
        frame: watchers[frame.partition].verdict(
            frame, is_settled=is_settled, is_halted=frame.partition in reader.halts
        )
        for frame in wanted
    }


def _read_all(log: Log, reader: Reader) -> None:
    reader.extend(horizon_of(log))
    while reader.read() is not None:
        pass


def _move_marks(log: Log, watchers: Iterable[_Watcher]) -> bool:
    """Append a no-op to each partition in which nothing but time is missing for a verdict."""
    now_ms = log.now_ms()
    puts = [
        Put(
            watcher.partition,
            noop_frame(
                log.params,
                log.genesis,
                watcher.partition,
                family=secrets.token_bytes(16),
                now_ms=now_ms,
            ),
        )
        for watcher in watchers
        if any(watcher.is_over(frame, now_ms) for frame in watcher.open)
    ]
    if puts:
        log.append(puts)  # if it fails, the frames stay undecided: no harm
    return bool(puts)


class _Watcher(Sequencer):
    """The sequencer of one partition, looked at after every record.

    Between two records a session can be accepted, closed and forgotten, so its state at the end
    of a page would tell too little.
    """

    def __init__(
        self,
        log: Log,
        partition: int,
        state: bytes | None,
        frames: Sequence[Frame],
        born_by: Mapping[Frame, int],
    ) -> None:
        super().__init__(log.params, log.genesis, partition, state)
        self._born_by = born_by
        self.open: dict[Frame, None] = dict.fromkeys(frames)
        self._found: dict[Frame, Resolved] = {}
        for frame in frames if state is not None else ():
            if self.accepted_up_to(frame.session) is not None:
                self._look(frame, (), may_be_copy=False)  # perhaps no further record comes
            elif self.mark + self.params.born_tolerance_ms >= frame.born_ms:
                self._decide(frame, Verdict.UNDECIDED, "the checkpoint is younger than its session")

    def is_over(self, frame: Frame, mark: int) -> bool:
        """Whether the frame's session has certainly expired at ``mark``."""
        born_ms = frame.born_ms or self._born_by.get(frame, 0)
        return bool(born_ms) and born_ms + self.params.session_life_ms < mark

    def feed(self, shard: str, record: Record, decisions: Decisions = _UNDECIDED) -> Sequence[Run]:
        dropped = self.counters.window_dropped
        runs = super().feed(shard, record, decisions)
        if self.open:
            copies = self.counters.window_dropped > dropped
            for frame in list(self.open):
                self._look(frame, runs, may_be_copy=copies)
        return runs

    def _look(self, frame: Frame, runs: Sequence[Run], *, may_be_copy: bool) -> None:
        accepted = {
            number
            for run in runs
            if run.session == frame.session
            for number in run.numbers
            if frame.first <= number <= frame.last
        }
        up_to = self.accepted_up_to(frame.session)
        if accepted or (up_to is not None and up_to >= frame.last):
            given_up = self._given_up(frame)
            if not given_up:
                self._decide(frame, Verdict.ACKNOWLEDGED, "accepted, or a copy of what is there")
            elif not accepted and given_up == frame.last - frame.first + 1:
                self._decide(frame, Verdict.NEVER, "given up by a RESOLVE")
            else:
                self._decide(frame, Verdict.UNDECIDED, f"{given_up} of it given up by a RESOLVE")
        elif self.is_closed(frame.session):
            if may_be_copy:
                self._decide(frame, Verdict.UNDECIDED, "closed by a record that dropped copies too")
            else:
                self._decide(frame, Verdict.NEVER, "a later generation closed its session")
        elif self.is_over(frame, self.mark):
            self._decide(frame, Verdict.NEVER, "its session has expired")

    def _given_up(self, frame: Frame) -> int:
        for session in SequencerState.decode(self.encode_state()).sessions:
            if session.session == frame.session:
                return session.gave_up(frame.first, frame.last)
        return 0

    def _is_held(self, frame: Frame) -> bool:
        return any(
            held.first <= frame.last and frame.first <= held.last
            for session in SequencerState.decode(self.encode_state()).sessions
            if session.session == frame.session
            for held in session.held
        )

    def _decide(self, frame: Frame, verdict: Verdict, why: str) -> None:
        self.open.pop(frame, None)
        self._found[frame] = Resolved(verdict, why)

    def verdict(self, frame: Frame, *, is_settled: bool, is_halted: bool) -> Resolved:
        """The verdict when all is read."""
        found = self._found.get(frame)
        if found is not None:
            return found
        if is_halted:
            return Resolved(Verdict.UNDECIDED, "its partition is halted (binlog halted)")
        if self._is_held(frame):
            return Resolved(Verdict.UNDECIDED, "in the log, held for an earlier frame")
        if is_settled:
            return Resolved(Verdict.NEVER, "not in the log, and nothing of it is on its way")
        return Resolved(Verdict.UNDECIDED, "it may land yet; ask again after its session's life")
