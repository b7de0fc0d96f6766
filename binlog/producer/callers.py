"""Threads that make calls to a log, where one call need not wait for another.

A directory log makes commits one after the other, so its caller makes them itself. A service takes
many at once: one that hangs for its whole timeout must hold only the partitions that it carries.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class _Job:
    """A call that is made once, by whoever takes it first."""

    __slots__ = ("_call", "_free")

    def __init__(self, call: Callable[[], None]) -> None:
        self._call = call
        self._free = threading.Lock()

    def take(self) -> bool:
        return self._free.acquire(blocking=False)

    def run(self) -> None:
        if self.take():
            self._call()


class Callers:
    """Up to ``count`` calls at once; a single one is made by whoever asks for it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    def hand_over(self, call: Callable[[_T], None], argument: _T) -> bool:
        """Let another thread make the call; ``False`` if the caller has to.

        It has to when calls go one by one, and where no thread can be started: the interpreter
        ends, or the machine allows no more of them.
        """
        if self._count == 1:
            return False
        job = _Job(lambda: call(argument))
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="binlog-call")
            self._pool.submit(job.run)
        except RuntimeError:
            # Of the pool's own threads one may have it already: it queues before it starts one.
            return not job.take()
        return True

    def close(self) -> None:
        """No more calls; what is under way ends by itself."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
