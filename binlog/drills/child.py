"""A process that tells its meter what it spent before it is waited for: afterwards nobody knows."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from binlog.drills.spending import Meter


class Child(subprocess.Popen[bytes]):
    """In a session of its own, without input. Whoever asks whether it has ended hears it first here."""

    def __init__(
        self,
        argv: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stdout: IO[bytes],
        stderr: IO[bytes],
        meter: Meter,
    ) -> None:
        self.meter = meter
        super().__init__(
            argv,
            cwd=folder,
            env={**environment, **meter.variables},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
        meter.began(self.pid)

    def poll(self) -> int | None:
        # Popen's own would wait for one that ends between the look and the question.
        return super().poll() if self.returncode is not None or self._look() else None

    def wait(self, timeout: float | None = None) -> int:
        # And without the pauses of Popen's own, which looks again after up to 50 ms.
        if self.returncode is None and (is_over := _is_over(self.pid, timeout)) is not None:
            if not is_over:
                assert timeout is not None
                raise subprocess.TimeoutExpired(self.args, timeout)
            self._look()
        return super().wait(timeout)

    def _look(self) -> bool:
        """Whether it has ended and nobody has waited for it, as far as one can tell."""
        try:
            ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except (ChildProcessError, AttributeError):  # gone, or a system that cannot tell
            return True
        if ended is not None:
            self.meter.ended()
        return ended is not None


def _is_over(pid: int, timeout: float | None) -> bool | None:
    """Wait until a child has ended, and leave it to be waited for; whether it has, if one can tell."""
    try:
        held = os.pidfd_open(pid)
    except (OSError, AttributeError):  # not on this system: `Popen.wait` knows another way
        return None
    try:
        poll = select.poll()
        poll.register(held, select.POLLIN)
        return bool(poll.poll(None if timeout is None else timeout * 1000))
    finally:
        os.close(held)
