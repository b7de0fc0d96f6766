"""Who may append: one process at a time, each in its turn.

Two `flock`ed files. ``lock`` is held while a commit is written. ``turn`` is held only by the one
who waits for ``lock``: whoever gives ``lock`` back cannot take it again before the waiting one,
since it would have to get ``turn`` first. (With one file a busy appender starves all the others:
its next call comes before the kernel has woken them.)

Waiting is by asking again, less often the longer it lasts, because a blocking `flock` cannot be
given a time limit, and a stopped holder must not stop everybody without a word. (Under contention
the difference to blocking locks was smaller than that between two runs.)

Locks of this kind need a local file system. They belong to the open file, so a forked child must
open its own (`AppendLock.forget`), and a holder's death gives them back.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN

from binlog.logs.filesystem import FileSystem

LOCK_NAME, TURN_NAME = "lock", "turn"
_PAUSE_MIN_S, _PAUSE_MAX_S = 0.000_05, 0.005
_READ_ONLY = {errno.EACCES, errno.EPERM, errno.EROFS}


class AppendLock:
    """The append lock of one open log. Not for several threads at once."""

    def __init__(
        self,
        fs: FileSystem,
        directory: str,
        *,
        monotonic: Callable[[], float],
        pause: Callable[[float], None],
    ) -> None:
        self._fs = fs
        self._directory = directory
        self._monotonic = monotonic
        self._pause = pause
        self._flock = fs.flock
        self._lock = self._open(LOCK_NAME)
        self._turn = self._open(TURN_NAME)

    def _open(self, name: str) -> int:
        path = f"{self._directory}/{name}"
        try:
            return self._fs.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            if error.errno not in _READ_ONLY:
                raise
            return self._fs.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def acquire(self, wait_s: float) -> bool:
        """Wait for it; ``False`` when ``wait_s`` have passed in vain."""
        start: float | None = None
        has_turn = False
        try:
            while True:
                has_turn = has_turn or self._try(self._turn)
                if has_turn and self.try_acquire():
                    return True
                now = self._monotonic()
                start = now if start is None else start
                waited = now - start
                if waited >= wait_s:
                    return False
                pause = min(max(waited / 16, _PAUSE_MIN_S), _PAUSE_MAX_S)
                self._pause(min(pause, wait_s - waited))
        finally:
            if has_turn:
                self._flock(self._turn, LOCK_UN)

    def try_acquire(self) -> bool:
        """Take it if nobody has it, out of turn."""
        if not self._try(self._lock):
            return False
        while not self._fs.fstat(self._lock).st_nlink:
            # Somebody removed the file; the others lock the one that took its place.
            self._fs.close(self._lock)
            self._lock = self._open(LOCK_NAME)
            if not self._try(self._lock):
                return False
        return True

    def _try(self, fd: int) -> bool:
        try:
            self._flock(fd, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        # It cannot fail on an open file; if it did, the outcome of the commit must not be lost.
        with contextlib.suppress(OSError):
            self._flock(self._lock, LOCK_UN)

    def forget(self) -> None:
        """Close both files; what this process held is free, what its parent holds is not."""
        fds, self._lock, self._turn = (self._lock, self._turn), -1, -1
        for fd in fds:
            if fd >= 0:
                with contextlib.suppress(OSError):
                    self._fs.close(fd)
