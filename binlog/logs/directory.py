"""The log in a directory: segments on a local disk, several processes appending and reading.

Files of a log (see the module of each for its format and its rules)::

    GENESIS                     what the log pins, readable JSON      binlog.params
    00000000000000000000.seg    blocks of frames, and so on           segment, block
    note                        how far the log is durable            note
    lock, turn                  who may append                        append_lock
    aside/                      torn tails that were cut              tail

Rule D1 (arrival, born, age) is kept by `binlog.logs.directory_appender`; rule D2 (what is durable,
what is damage, what is a torn tail) by `binlog.logs.tail`.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

from binlog.clock import Clock, SystemClock
from binlog.errors import BusyError, DamageError, MismatchError, RefusedError, TooLargeError
from binlog.horizon import Below, Horizon, WhereCaughtUp
from binlog.log import Failed, Page, Position, Put, Reply, Shard
from binlog.logger import get_logger
from binlog.logs.admission import Admission
from binlog.logs.append_lock import AppendLock
from binlog.logs.block import BLOCK_BYTES_MAX, FRAMES_MAX, block_bytes
from binlog.logs.directory_appender import FINAL, Appender, trouble
from binlog.logs.directory_genesis import read_genesis
from binlog.logs.directory_reader import SHARD, DirectoryReader
from binlog.logs.filesystem import REAL, FileSystem
from binlog.logs.note import Note
from binlog.logs.segment import SEGMENT_BYTES, segment_path
from binlog.logs.tail import Tail

_logger = get_logger(__name__)
_POLL_MIN_S, _POLL_MAX_S = 0.001, 0.05


class DirectoryLog:
    """A `binlog.log.Log` in a directory. It must exist: `create_directory_log` makes one.

    ``segment_bytes`` is when a new file is begun. ``lock_wait_s`` is how long an append waits for
    other processes. ``pause`` sleeps for some seconds.

    Raises:
        RefusedError: there is no such directory.
        MismatchError: a directory, but no log.
        DamageError, UpgradeError: see `binlog.params.decode_genesis`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        fs: FileSystem = REAL,
        clock: Clock | None = None,
        segment_bytes: int = SEGMENT_BYTES,
        lock_wait_s: float = 10.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name = f"file:{os.fspath(path)}"
        # Absolute, since segments are opened as they are needed, wherever the program is then.
        self._path = str(Path(path).absolute()) if fs is REAL else os.fspath(path)
        self._fs = fs
        self._clock: Clock = clock or SystemClock()
        self._segment_bytes = segment_bytes
        self._lock_wait_s = lock_wait_s
        self._pause = pause
        self.genesis, self.params = read_genesis(fs, self._path)
        self._admission = Admission(self.params, self.genesis)
        self._log_id = bytes.fromhex(self.params.log_id)
        self._last_arrival_ms = 0
        self._closed = False
        self._forked = False
        self._open()
        if fs is REAL:
            _OPEN_LOGS.add(self)

    def _open(self) -> None:
        self._mutex = threading.Lock()  # of the append side; taken before the append lock
        self._end_mutex = threading.Lock()
        self._end = 0  # a durable end that was seen; the true one is never before it
        self._examined: tuple[object, ...] = ()
        try:
            self._tail = Tail(self._fs, self._path, self._log_id, segment_bytes=self._segment_bytes)
            self._lock = AppendLock(
                self._fs, self._path, monotonic=self._clock.monotonic, pause=self._pause
            )
            self._reader = DirectoryReader(self._fs, self._path, self._log_id)
            self._appender = Appender(
                self.name, self._admission, self._tail, self._reader, self._clock
            )
        except OSError as error:
            raise trouble(error, self.name) from error

    # -- append ----------------------------------------------------------------------------------

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        self._check_open()
        if not frames:
            return []
        self._admission.check(frames)
        if block_bytes(frames) > BLOCK_BYTES_MAX or len(frames) > FRAMES_MAX:
            raise TooLargeError(
                f"{len(frames)} frames of {block_bytes(frames)} bytes in one commit, the limit is "
                f"{FRAMES_MAX} and {BLOCK_BYTES_MAX}",
                self.name,
                "append fewer at a time",
            )
        try:
            with self._mutex:
                self._check_open()
                with _Held(self._lock, self._lock_wait_s):
                    self._tail.refresh(cut=True)
                    return self._appender.append(frames)
        except _NotGotError:
            return [Failed(self._busy(), untouched=True)] * len(frames)
        except OSError as error:
            # Until a commit begins only the log as it was is read and proved.
            failed = Failed(trouble(error, self.name), untouched=True, final=error.errno in FINAL)
            return [failed] * len(frames)

    # -- read ------------------------------------------------------------------------------------

    def read(
        self,
        after: Position,
        *,
        partitions: frozenset[int] | None = None,
        bytes_max: int = 4 * 1024 * 1024,
        wait_s: float = 0.0,
    ) -> Page:
        self._check_open()
        if after.shard != SHARD:
            raise RefusedError(f"no shard {after.shard!r}", self.name, f"it has shard {SHARD}")
        deadline: float | None = None
        pause = _POLL_MIN_S
        while True:
            try:
                page = self._read_now(after, partitions, bytes_max)
            except OSError as error:
                raise trouble(error, self.name) from error
            if page.records or not page.caught_up or wait_s <= 0:
                return page
            now = self._clock.monotonic()
            deadline = now + wait_s if deadline is None else deadline
            if now >= deadline:
                return page
            after = page.next
            self._pause(min(pause, deadline - now))
            pause = min(pause * 1.5, _POLL_MAX_S)
            self._check_open()

    def _read_now(self, after: Position, partitions: frozenset[int] | None, bytes_max: int) -> Page:
        page = Page([], after, caught_up=True)
        while page.caught_up and not page.records:
            end = self._end  # other threads move it on
            if page.next.sequence < end:
                page = self._reader.read(
                    page.next.sequence, end, partitions=partitions, bytes_max=bytes_max
                )
            if page.records:
                self._last_arrival_ms = max(self._last_arrival_ms, page.records[-1].arrival_ms)
            if page.caught_up:
                try:
                    grown = self._learn_end(end)
                except DamageError:
                    if not page.records:
                        raise
                    grown = True  # let the records be seen first; the next call will say it
                if not grown:
                    self._check_position(page.next.sequence)
                    break
                if page.records:
                    return Page(page.records, page.next, caught_up=False)
        return page

    def _check_position(self, sequence: int) -> None:
        """Nothing, if there may be a record of that number.

        Raises:
            MismatchError: it lies beyond the last byte of the log, not only beyond the note.
        """
        note = self._tail.peek()
        end = self._grow(note.end)
        if sequence >= end and self._state_after(note) is None:
            raise MismatchError(
                f"position {sequence} lies beyond the end of the log, {end}",
                self.name,
                "is it another log's, or was this log restored from an older copy?",
                sequence=sequence,
                end=end,
            )

    def _grow(self, end: int) -> int:
        """Remember that the log is durable up to ``end``, or further; how far that is."""
        with self._end_mutex:
            self._end = max(self._end, end)
            return self._end

    def _learn_end(self, known: int) -> bool:
        """Look how far the log is durable now; whether that is further than ``known``.

        What lies after the note is proved if the append lock is free; if not, its holder does.
        """
        note = self._tail.peek()
        if self._grow(note.end) > known:
            return True
        state = self._state_after(note)
        if state is None or state == self._examined:
            return False
        try:
            with _Held(self._mutex):
                self._check_open()  # another thread may have closed it
                with _Held(self._lock):
                    self._tail.refresh(cut=False)
                    self._examined = self._state_after(self._tail.note) or ()
                    return self._grow(self._tail.note.end) > known
        except _NotGotError:
            return False
        except DamageError as error:
            # All before it is proved by what follows it, and is given first.
            proved = error.details.get("position")
            if isinstance(proved, int) and self._grow(proved) > known:
                return True
            raise
        except OSError as error:
            if error.errno not in FINAL:
                raise
            self._examined = state
            _logger.warning("tail.unproved", log=self.name, durable_end=known, error=str(error))
            return False

    def _state_after(self, note: Note) -> tuple[object, ...] | None:
        """``None`` if nothing follows the note; else something that changes when that does."""
        try:
            found = self._fs.stat(segment_path(self._path, note.segment))
            size, changed = found.st_size, found.st_mtime_ns
        except FileNotFoundError:
            size, changed = 0, 0
        if note.counter and note.segment + size == note.end:
            try:
                if note.end == note.segment:
                    return None
                self._fs.stat(segment_path(self._path, note.end))
            except FileNotFoundError:
                return None
        return note, size, changed

    def settle(self) -> None:
        """Decide what earlier appends left behind, whoever made them (P5).

        On return each frame that was ever tried is readable, or never will be by itself.

        Raises:
            BusyError: the append lock was not free in time.
        """
        self._check_open()
        try:
            with self._mutex:
                self._check_open()
                with _Held(self._lock, self._lock_wait_s):
                    self._tail.refresh(cut=False)
                    self._grow(self._tail.note.end)
        except _NotGotError:
            raise self._busy() from None
        except OSError as error:
            raise trouble(error, self.name) from error

    # -- the rest of the protocol ----------------------------------------------------------------

    def shards(self) -> list[Shard]:
        return [Shard(SHARD, (), frozenset(range(self.params.partitions)))]

    def horizon(self) -> Horizon:
        self._check_open()
        try:
            note = self._tail.peek()
            end = self._grow(note.end)
        except OSError as error:
            raise trouble(error, self.name) from error
        # A lost note tells nothing; what is proved without it is found by reading.
        return Below(end) if note.counter else WhereCaughtUp()

    def locate(self, position: Position) -> str:
        return self._reader.locate(position.sequence)

    def stamp(self, position: Position) -> bytes:
        try:
            return self._reader.stamp(position.sequence)
        except OSError as error:
            raise trouble(error, self.name) from error

    def size_bytes(self) -> int:
        return self._grow(self._tail.peek().end)

    def now_ms(self) -> int:
        self._check_open()
        self._last_arrival_ms = max(self._last_arrival_ms, self._tail.peek().arrival_ms)
        return max(self._clock.now_ms(), self._last_arrival_ms)

    def close(self) -> None:
        with self._mutex:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(OSError):  # the note is a bound; a lower one is no loss
                self._tail.sync_note()
            self._tail.close()
            self._lock.forget()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside ----------------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closed:
            raise RefusedError("the log is closed", self.name, "open it again")
        if self._forked:
            self._forked = False
            self._open()

    def _leave_to_parent(self) -> None:
        """In a forked child: give up the descriptors, a lock among them; they are the parent's."""
        self._mutex = threading.Lock()
        self._tail.close()
        self._lock.forget()
        self._forked = True

    def _busy(self) -> BusyError:
        return BusyError(
            f"the append lock was not free for {self._lock_wait_s:g} s",
            self.name,
            "is a process stopped in the middle of an append?",
        )


class _NotGotError(Exception):
    """A lock that was not free in time."""


class _Held:
    """A lock, held for the length of a ``with``; `_NotGotError` if it is not free in time.

    ``wait_s`` None: now, out of turn.
    """

    def __init__(self, lock: AppendLock | threading.Lock, wait_s: float | None = None) -> None:
        self._lock = lock
        self._wait_s = wait_s

    def __enter__(self) -> None:
        lock = self._lock
        if isinstance(lock, AppendLock):
            got = lock.try_acquire() if self._wait_s is None else lock.acquire(self._wait_s)
        else:
            got = lock.acquire(blocking=False)
        if not got:
            raise _NotGotError

    def __exit__(self, *_: object) -> None:
        self._lock.release()


# Real logs open in this process; a fork must not share their lock.
_OPEN_LOGS: weakref.WeakSet[DirectoryLog] = weakref.WeakSet()


def _after_fork() -> None:
    for log in _OPEN_LOGS:
        log._leave_to_parent()  # noqa: SLF001


os.register_at_fork(after_in_child=_after_fork)
