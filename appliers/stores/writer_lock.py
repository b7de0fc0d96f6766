"""One writer to a store: `flock` on a file beside it, which names the holder.

The file stays when the lock is free; what counts is the lock, which the kernel gives back when its
holder dies. Locks of this kind need a local file system, as SQLite in WAL mode does anyway.

A lock belongs to the open file, so a forked child would hold it on for a parent that was killed
(workers of a pool outlive theirs): every child closes its copies at once.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from pathlib import Path

from binlog.errors import BusyError, StorageError

_PAUSE_S = 0.02
_held: set[WriterLock] = set()  # a store that is dropped without `close` keeps its lock


class WriterLock:
    """The lock of the store in ``path``, not held at first."""

    def __init__(
        self,
        path: Path,
        name: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._path = path.with_name(f"{path.name}.lock")
        self._name = name
        self._monotonic = monotonic
        self._pause = pause
        self._descriptor: int | None = None

    def acquire(self, wait_s: float) -> None:
        """Take it, asking again until ``wait_s`` have passed; nothing if it is held already.

        Raises:
            BusyError: with ``pid``, the holder's, if it is known.
            StorageError: the directory cannot be written.
        """
        if self._descriptor is not None:
            return
        try:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StorageError(
                f"the store cannot be written ({error.strerror})",
                self._name,
                "see that the directory exists and may be written",
            ) from error
        try:
            self._wait(descriptor, wait_s)
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                f"the store cannot be locked ({error.strerror})", self._name, "see the disk"
            ) from error
        except BusyError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        _held.add(self)
        # A courtesy to who waits: on a full disk the lock holds without it.
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)

    def _wait(self, descriptor: int, wait_s: float) -> None:
        deadline = self._monotonic() + wait_s
        while True:
            try:
                flock(descriptor, LOCK_EX | LOCK_NB)
            except BlockingIOError:
                left = deadline - self._monotonic()
                if left <= 0:
                    raise self._busy(descriptor, wait_s) from None
                self._pause(min(_PAUSE_S, left))
            else:
                return

    def _busy(self, descriptor: int, wait_s: float) -> BusyError:
        text = os.pread(descriptor, 32, 0).strip()
        pid = int(text) if text.isdigit() else None
        who = f"process {pid}" if pid else "another process"
        return BusyError(
            f"{who} writes to the store; waited {wait_s:g} s",
            self._name,
            "try again when it is done, or write to another store",
            pid=pid,
        )

    def release(self) -> None:
        """Give it back; nothing if it is not held."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            _held.discard(self)
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, 0)
            flock(descriptor, LOCK_UN)
            os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: close the copy. The parent's lock stays as it is."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)
