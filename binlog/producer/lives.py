"""The process that producers live in: it forks, is restored from a snapshot, and ends.

In a forked child, and after Lambda's SnapStart has restored one memory any number of times, a
producer begins anew: a family of its own (P1), an empty queue, a lock that nobody holds. At the end
of a process what was published is flushed, for a while.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import weakref
from importlib import import_module
from typing import Any, Protocol

_AT_EXIT_S = 10.0


class Living(Protocol):
    """A producer, as far as its process is concerned."""

    def begin_again(self) -> None:
        """Forget whose memory this was."""

    def flush(self, timeout_s: float | None = None) -> None: ...


PRODUCERS: weakref.WeakSet[Any] = weakref.WeakSet()
"""All of this process."""


def begin_again() -> None:
    """All of them."""
    producers: list[Living] = list(PRODUCERS)
    for producer in producers:
        producer.begin_again()


def _flush_at_exit() -> None:
    """Futures that nobody waited for: a daemon thread would be stopped in the middle."""
    producers: list[Living] = list(PRODUCERS)
    for producer in producers:
        try:
            producer.flush(_AT_EXIT_S)
        except TimeoutError as error:
            from binlog.logger import get_logger

            get_logger("binlog.producer").error("producer.cut_off", error=str(error))


os.register_at_fork(after_in_child=begin_again)
atexit.register(_flush_at_exit)
if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    with contextlib.suppress(ImportError):  # Lambda's own package, in the runtimes that have it
        import_module("snapshot_restore_py").register_after_restore(begin_again)
