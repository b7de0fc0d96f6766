"""A run that does not end is ended: after so much of this process's CPU time it is a violation.

A run takes some hundredths of a second. One that takes a thousand times as long goes round in a
circle: frames that nobody drains, a commit that is tried for ever. Time of the CPU, and not of the
clock, so that a busy machine breaks no law.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from binlog.testing.violation import Violation

LAW = "every run ends"


class _Endless(BaseException):
    """No `Exception`: code under test that catches whatever goes wrong would go on."""


@contextmanager
def ending(cpu_s: float) -> Iterator[None]:
    """What is done within takes at most so many seconds of CPU time.

    Only in a process's main thread, and on systems that have a timer for it; elsewhere nothing is
    bounded.

    Raises:
        Violation: it took longer.
    """
    if not hasattr(signal, "ITIMER_PROF") or not _is_main():
        yield
        return

    def end(_signal: int, _frame: FrameType | None) -> None:
        raise _Endless

    before = signal.signal(signal.SIGPROF, end)
    signal.setitimer(signal.ITIMER_PROF, cpu_s)
    try:
        yield
    except _Endless:
        raise Violation(
            f"it has not come to its end after {cpu_s:g} s of CPU time", law=LAW
        ) from None
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _is_main() -> bool:
    return threading.current_thread() is threading.main_thread()
