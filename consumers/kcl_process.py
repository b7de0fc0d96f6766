"""The daemon as a process with its children, and the lock that only one of them holds."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import IO

from binlog.clock import Clock
from binlog.errors import BusyError
from binlog.logger import get_logger
from consumers.kcl_daemon import POLL_S, Launch

ORPHAN_S = 30.0  # for a daemon that was left behind to end by itself

_logger = get_logger(__name__)


class ProcessGroup:
    """A real daemon. It leads a session of its own: the terminal's Ctrl-C is for the supervisor."""

    def __init__(self, launch: Launch, held: IO[str]) -> None:
        logs = launch.folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        with (logs / "daemon.out").open("wb") as out:
            self._process = subprocess.Popen(
                launch.command,
                env=dict(launch.environment),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                pass_fds=(held.fileno(),),  # and with it the lock
            )
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.poll()

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.poll()

    def is_empty(self) -> bool:
        # The leader is reaped only here and in `poll`, and while the group lives its number is not
        # given to anybody else.
        if self._process.poll() is None:
            return False
        return group_is_empty(self.pid)


def group_is_empty(group: int) -> bool:
    """Whether no process of the group is left; one that waits to be reaped counts as none."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    proc = Path("/proc")
    if not (proc / "self" / "stat").exists():
        return False
    return not any(_is_in(folder, group) for folder in proc.glob("[0-9]*"))


def _is_in(folder: Path, group: int) -> bool:
    try:
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return int(fields[2]) == group and fields[0] not in "ZX"


class FolderLock:
    """The right to run a daemon for a folder; held by us, and by the daemon, until both are gone."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.file = (folder / "lock").open("a+")

    def take(
        self, *, clock: Clock, sleep: Callable[[float], None], stopping: Callable[[], int]
    ) -> None:
        """Get it; a daemon that a supervisor left behind is ended first.

        Raises:
            BusyError: another supervisor is at work, or the one that was left does not end.
        """
        if not self._try():
            supervisor, daemon = self._read()
            ours = (
                supervisor == os.getpid()
            )  # it is another's that had our number, in another container
            if (
                supervisor is not None
                and not ours
                and _holds_lock(supervisor, self.folder / "lock")
            ):
                raise self._busy(f"the supervisor {supervisor} is at work")
            if daemon is None or not _holds_lock(daemon, self.folder / "lock"):
                raise self._busy("somebody holds the lock")
            _logger.warning("daemon.left_behind", pid=daemon)
            self._end(daemon, clock, sleep, stopping)
        self.note(daemon=None)

    def note(self, *, daemon: int | None) -> None:
        """Write down who holds it, for a successor."""
        self.file.seek(0)
        self.file.truncate()
        json.dump({"supervisor": os.getpid(), "daemon": daemon}, self.file)
        self.file.flush()

    def close(self) -> None:
        """Give it up, as far as we hold it."""
        self.file.close()

    def _end(
        self,
        daemon: int,
        clock: Clock,
        sleep: Callable[[float], None],
        stopping: Callable[[], int],
    ) -> None:
        began = clock.monotonic()
        with contextlib.suppress(ProcessLookupError):
            os.kill(daemon, signal.SIGTERM)
        killed = False
        while not self._try() or not group_is_empty(daemon):
            waited = clock.monotonic() - began
            if stopping() or waited >= 2 * ORPHAN_S:
                raise self._busy(f"the daemon {daemon} that was left there does not end")
            if waited >= ORPHAN_S and not killed:
                killed = True
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(daemon, signal.SIGKILL)
            sleep(POLL_S)

    def _try(self) -> bool:
        try:
            fcntl.flock(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _read(self) -> tuple[int | None, int | None]:
        self.file.seek(0)
        try:
            noted = json.load(self.file)
            return noted["supervisor"], noted["daemon"]
        except (ValueError, KeyError, TypeError):
            return None, None

    def _busy(self, why: str) -> BusyError:
        return BusyError(
            f"{why}: two daemons under one worker's name would share its leases",
            str(self.folder),
            "end it, or give this worker a name and a folder of its own (--worker, --folder)",
        )


def _holds_lock(pid: int, path: Path) -> bool:
    """Whether that process has the file open: ids are given again, the lock's holder has it."""
    folder = Path("/proc", str(pid), "fd")
    if not Path("/proc/self/fd").exists():
        with contextlib.suppress(OSError):
            os.kill(pid, 0)
            return True
        return False
    try:
        wanted = path.stat()
        for each in folder.iterdir():
            with contextlib.suppress(OSError):
                found = each.stat()
                if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
                    return True
    except OSError:
        return False
    return False
