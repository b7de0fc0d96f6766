"""Ctrl-C, SIGTERM and a terminal that goes away: heard once, and never in the middle of something.

Invariants:

* What is asked for is kept in `asked`, also if whoever was interrupted swallows the exception.
* `KeyboardInterrupt` is raised once at most, and only between `open` and `shut`, outside of `held`: a
  process that was started and not yet written down would be nobody's.
* A signal that is ignored already (``nohup``, a job of a shell script) stays ignored.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupts:
    """Of one drill, from entering to leaving; in another thread than the main one it hears nothing."""

    def __init__(self) -> None:
        self.asked = False
        self._is_open = False
        self._held = 0
        self._has_raised = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for name in SIGNALS:
            number = getattr(signal, name, None)
            if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            with contextlib.suppress(ValueError):  # another thread: it has its own signals
                self._before[number] = signal.signal(number, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def open(self) -> None:
        """From here on it raises; at once, if it was asked before."""
        self._is_open = True
        self.look()

    def shut(self) -> None:
        """From here on it only takes notice: what cleans up comes to its end."""
        self._is_open = False

    def look(self) -> None:
        """For who does something next.

        Raises:
            KeyboardInterrupt: it was asked to end, whatever became of that since.
        """
        if self.asked and self._is_open and not self._held:
            self._has_raised = True
            raise KeyboardInterrupt

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """What happens in the block is whole: a signal is heard at its end."""
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1
            if not self._has_raised:
                self.look()

    def _hear(self, _: int, __: FrameType | None) -> None:
        if self.asked:
            return  # who asks twice is not to leave half of it running
        self.asked = True
        self.look()
