"""What is left of a drill that was killed: its processes end, and its folder goes.

Runs as a process of its own, with nothing but the standard library. It waits for the drill to say
that all is over. If the drill is gone without a word (kill -9, out of memory), the pipe closes.

Processes of a drill are those with its mark in their environment, and so are their children's,
whatever session they have made for themselves. A number is not enough to end a process: it may be
another one's by now, so each is held (pidfd) while it is looked at. Without Linux' /proc nobody is
found.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

VARIABLE = "DRILL_MARK"  # not BINLOG_..: a function refuses those that it does not know
PREFIX = "binlog-drill-"
LOOKS = 3  # nobody is found so often in a row: one that is just being started shows late
PAUSE_S = 0.05
END_S = 10.0


def end_marked(mark: str, *, looks: int = 1) -> list[int]:
    """Kill all processes with the mark, and their children; which. On return none is left."""
    ended: list[int] = []
    until = time.monotonic() + END_S
    quiet = 0
    while quiet < looks and time.monotonic() < until:
        found = [pid for pid in _pids() if _kill(pid, mark)]
        ended += [pid for pid in found if pid not in ended]
        quiet = 0 if found else quiet + 1
        if found or quiet < looks:
            time.sleep(PAUSE_S)
    return ended


def _pids() -> list[int]:
    with contextlib.suppress(OSError):
        return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdecimal()]
    return []


def _kill(pid: int, mark: str) -> bool:
    if pid == os.getpid():
        return False
    try:
        held = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        words = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        if f"{VARIABLE}={mark}".encode() not in words:
            return False
        signal.pidfd_send_signal(held, signal.SIGKILL)
    except OSError:  # it has ended, or is somebody else's
        return False
    finally:
        os.close(held)
    return True


class Reaper:
    """The drill's end of it. ``folder`` need not be there yet; ``mark`` is the drill's."""

    def __init__(self, folder: Path, mark: str) -> None:
        # -I -S: it starts in some hundredths of a second, and nobody's PYTHONPATH is looked at.
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, str(folder), mark],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def over(self) -> None:
        """The drill has cleaned up itself. Repeats do nothing."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(OSError):
                pipe.write(b"over")
                pipe.flush()
            with contextlib.suppress(OSError):
                pipe.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)


def main(folder: str, mark: str) -> None:
    """Wait for the word, or for the end of who would have said it."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    if sys.stdin.buffer.read() == b"over":
        return
    end_marked(mark, looks=LOOKS)
    if Path(folder).name.startswith(PREFIX):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
