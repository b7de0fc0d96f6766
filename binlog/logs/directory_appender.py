"""What becomes of the frames given to a directory log, decided under its append lock (rule D1).

Invariants:

* Arrival = max(clock, last arrival in the log), so it never goes back, whoever writes. (With plain
  clocks one fast writer would make the acknowledged frames of all others expire. What remains: a
  clock far ahead freezes the log's time until it is passed; it is warned about.)
* A frame without ``born`` gets the arrival as its ``born``, all those of a call the same; one that
  was tried before keeps the stamp that it got then, if it got into the log.
* Age is judged before anything is written. So a frame that is refused for it is not in the log,
  unless it was tried before: then it is looked up.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Sequence

from binlog.clock import Clock
from binlog.errors import StorageError
from binlog.frame import stamp_born
from binlog.log import Appended, Expired, Failed, Position, Put, Reply
from binlog.logger import get_logger
from binlog.logs.admission import BORN, Admission, born_of, is_same_frame, session_of
from binlog.logs.block import ENTRY_BYTES
from binlog.logs.directory_reader import SHARD, DirectoryReader
from binlog.logs.tail import READ_ONLY, CommitError, Tail

_logger = get_logger(__name__)
CLOCK_BEHIND_MS = 5_000
_IN_DOUBT_MAX = 4_096
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
FINAL = _FULL | READ_ONLY  # what no retry mends


class Appender:
    """The append side of one open log. Its caller holds the append lock and refreshed the tail."""

    def __init__(
        self, name: str, admission: Admission, tail: Tail, reader: DirectoryReader, clock: Clock
    ) -> None:
        self._name = name
        self._admission = admission
        self._tail = tail
        self._reader = reader
        self._clock = clock
        self._clock_was_behind = False
        # Frames that may have been tried: where the log ended when they were certainly not in it.
        self._in_doubt: dict[bytes, int] = {}

    def append(self, puts: Sequence[Put]) -> list[Reply]:
        arrival = self._arrival()
        replies: list[Reply | None] = [None] * len(puts)
        taken: list[Put] = []
        datas: list[bytes] = []
        borns: list[int] = []
        stamps: dict[bytes, int] = {}
        for index, put in enumerate(puts):
            if not put.tried:
                continue
            unborn = not born_of(put.data)
            if unborn or _doubt_key(put) in self._in_doubt:
                replies[index] = found = self._look_up(put)
                if found and unborn:
                    stamps[session_of(put.data)] = found.born_ms
        in_time: dict[bytes, int] = {}  # each `born` met, as bytes: most calls bring only one
        for index, put in enumerate(puts):
            if replies[index]:
                continue
            data = put.data
            known = in_time.get(data[BORN])
            if known is None:
                born = born_of(data)
                if not born:
                    born = stamps.get(session_of(data), arrival)
                    data = stamp_born(data, born)
                elif born > arrival:
                    self._admission.check_born(born, arrival)
                if self._admission.is_too_old(born, arrival):
                    found = self._look_up(put) if put.tried else None
                    replies[index] = found or Expired(arrival)
                    continue
                known = in_time[data[BORN]] = born
            taken.append(put)
            datas.append(data)
            borns.append(known)
        landed = iter(self._commit(taken, datas, borns, arrival) if taken else ())
        return [reply or next(landed) for reply in replies]

    def _commit(
        self, puts: list[Put], datas: list[bytes], borns: list[int], arrival: int
    ) -> Iterable[Reply]:
        end = self._tail.note.end
        try:
            sequence = self._tail.commit(puts, datas, arrival)
        except CommitError as error:
            if not error.untouched:
                for put in puts:
                    if not put.tried:  # else it may be in the log from elsewhere
                        self._doubt(put, end)
            failed = Failed(
                trouble(error.cause, self._name),
                untouched=error.untouched,
                final=error.cause.errno in FINAL,
            )
            return [failed] * len(puts)
        if self._in_doubt:
            for put in puts:
                self._in_doubt.pop(_doubt_key(put), None)
        return [
            Appended(arrival, Position(SHARD, sequence + ENTRY_BYTES * index), born)
            for index, born in enumerate(borns)
        ]

    def _arrival(self) -> int:
        now, last = self._clock.now_ms(), self._tail.note.arrival_ms
        behind = last - now
        if behind > CLOCK_BEHIND_MS and not self._clock_was_behind:
            _logger.warning("clock.behind", log=self._name, behind_ms=behind, last_arrival_ms=last)
        self._clock_was_behind = behind > CLOCK_BEHIND_MS
        return max(now, last)

    def _look_up(self, put: Put) -> Appended | None:
        """The frame in the log, if an earlier try put it there (D1)."""
        wanted = frozenset((put.partition,))
        since, end = self._in_doubt.get(_doubt_key(put), 0), self._tail.note.end
        for records in self._reader.newest_first(since, end, wanted):
            for record in records:
                if is_same_frame(record.data, put.data):
                    position = Position(SHARD, record.sequence)
                    return Appended(record.arrival_ms, position, born_of(record.data))
        self._doubt(put, end)
        return None

    def _doubt(self, put: Put, end: int) -> None:
        """Note that the frame does not stand before ``end``, wherever else it may be."""
        if len(self._in_doubt) >= _IN_DOUBT_MAX:
            self._in_doubt.clear()
        self._in_doubt[_doubt_key(put)] = end


def trouble(error: OSError, name: str) -> StorageError:
    """What the operating system refused, in our words."""
    number = error.errno or 0
    if number in _FULL:
        do = "make room; what was acknowledged is safe"
    elif number in READ_ONLY:
        do = "make the directory writable, or only read from it"
    else:
        do = "look at the disk; what was acknowledged is in the log or will be named as damage"
    what = f"{os.strerror(number)} ({errno.errorcode.get(number, number)})"
    return StorageError(what, name, do, errno=number)


def _doubt_key(put: Put) -> bytes:
    """Session, partition and first number: what names a frame, whatever its ``born``."""
    return session_of(put.data) + put.data[80:88] + put.data[132:134]
