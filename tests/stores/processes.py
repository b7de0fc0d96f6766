"""Work in a child process that may be killed, limited or without rights."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

Say: TypeAlias = Callable[[bytes], object]
NOBODY = 65_534


@contextmanager
def forked(work: Callable[[Say], None]) -> Iterator[tuple[int, Callable[[], bytes]]]:
    """Run ``work`` in a child; give its pid and a way to read what it says. Killed at the end."""
    reading, writing = os.pipe()
    pid = os.fork()
    if not pid:
        os.close(reading)
        _end(lambda: work(lambda data: os.write(writing, data)))
    os.close(writing)
    try:
        yield pid, lambda: os.read(reading, 65_536)
    finally:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
        os.close(reading)


def passes(work: Callable[[], object]) -> bool:
    """Whether ``work`` ends without an exception in a child."""
    pid = os.fork()
    if not pid:
        _end(work)
    return os.waitpid(pid, 0)[1] == 0


def as_nobody(work: Callable[[], object]) -> Callable[[], object]:
    """The same without any rights over what root made; for a child."""

    def drop_and_work() -> None:
        if not os.getuid():
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        work()

    return drop_and_work


def wait_for_the_end(say: Say) -> None:
    """Say that we are there, and never return."""
    say(b"!")
    while True:
        os.read(os.pipe()[0], 1)


def _end(work: Callable[[], object]) -> None:
    try:
        work()
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 - nothing may get past the fork
        print(f"in the child: {error!r}", file=sys.stderr, flush=True)
        os._exit(1)
