"""Threads that make calls to a log, where one call need not wait for another.

A directory log makes commits one after the other, so its caller makes them itself. A service takes
many at once: one that hangs for its whole timeout must hold only the partitions that it carries.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_T = TypeVar("_T")


class Callers:
    """Up to ``count`` calls at once; a single one is made by whoever asks for it."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool: ThreadPoolExecutor | None = None

    def hand_over(self, call: Callable[[_T], None], argument: _T) -> bool:
        """Let another thread make the call; ``False`` if the caller has to.

        It has to when calls go one by one, and while the interpreter ends: no thread starts then.
        """
        if self._count == 1:
            return False
        try:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._count, thread_name_prefix="binlog-call")
            self._pool.submit(call, argument)
        except RuntimeError:
            return False
        return True

    def close(self) -> None:
        """No more calls; what is under way ends by itself."""
        if self._pool is not None:
            self._pool.shutdown(wait=False)
