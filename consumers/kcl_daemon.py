"""The supervisor of one MultiLangDaemon: there is one at a time, and it is started again.

KCL's Java process ends as a whole when one of its children does, and leaves its leases behind; who
comes back under the same worker's name has them again after seconds, anybody else after minutes.
Invariants:

* a daemon is started only when the one before it and all its children are gone: two under one name
  would both believe that the leases are theirs;
* of all supervisors of a folder one is at work. The lock is a file that the daemon inherits, so it
  is held until the last of the two is gone: a supervisor that was killed leaves a daemon behind, and
  its successor ends that one before it starts its own;
* a failure that a new process would meet again ends the supervisor, with the same error.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Protocol

import msgspec

from binlog.clock import Clock
from binlog.errors import BinlogError, StorageError
from binlog.logger import get_logger
from consumers.kcl_health import STOPPING, WORKER, ShardHealth, shards_in
from consumers.metrics import write_json

POLL_S = 0.2
BACKOFF_FIRST_S, BACKOFF_MAX_S = 1.0, 60.0
LASTED_S = 60.0  # a daemon that ran so long was well: the next wait is short again
FRUITLESS_MAX = 5  # daemons in a row that had no shard
CHILDREN_S = 10.0  # for what the daemon leaves behind to end by itself
STOP_EXTRA_S = 15.0  # beyond the daemon's own grace

_logger = get_logger(__name__)


class Group(Protocol):
    """A daemon with its children: a process that leads a group of its own."""

    pid: int

    def poll(self) -> int | None:
        """The status of the daemon itself, once it has ended."""

    def stop(self) -> None:
        """Ask the daemon to end; its children it ends itself."""

    def kill(self) -> None:
        """End whatever is left of the group."""

    def is_empty(self) -> bool:
        """Whether all of them are gone."""


class Launch(msgspec.Struct, frozen=True, kw_only=True):
    """How the daemon is started."""

    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    grace_s: float  # that it takes itself for a clean end


class Supervised(msgspec.Struct, kw_only=True):
    """What ``worker.json`` says."""

    worker: str
    state: str = "starting"
    supervisor: int = 0
    daemon: int | None = None
    starts: int = 0
    last_status: int | None = None
    at_ms: int = 0
    shards: list[ShardHealth] = []


class Supervisor:
    """Runs a daemon until it is asked to stop.

    ``sleep`` waits at most so long, and less if ``stopping`` becomes true meanwhile.
    """

    def __init__(
        self,
        launch: Launch,
        *,
        worker: str,
        start: Callable[[], Group],
        clock: Clock,
        random: Random,
        sleep: Callable[[float], None],
        stopping: Callable[[], int],
    ) -> None:
        self._launch = launch
        self._start = start
        self._clock = clock
        self._random = random
        self._sleep = sleep
        self._stopping = stopping
        self.now = Supervised(worker=worker, supervisor=os.getpid())

    def run(self) -> None:
        """Until stopped.

        Raises:
            BinlogError: what a new daemon would meet again, or too many that came to nothing.
        """
        waits = fruitless = 0
        while not self._stopping():
            began_ms, began = self._clock.now_ms(), self._clock.monotonic()
            group = self._start()
            self.now.starts += 1
            self._note("running", daemon=group.pid)
            _logger.info("daemon.started", pid=group.pid, starts=self.now.starts)
            try:
                status = self._watch(group)
            finally:
                self._clear(group)
            self.now.last_status = status
            shards = shards_in(self._launch.folder, since_ms=began_ms)
            if self._stopping():
                break
            _logger.warning("daemon.ended", status=status)
            self._raise_final(shards)
            lasted = self._clock.monotonic() - began
            waits = 0 if lasted >= LASTED_S else waits + 1
            fruitless = 0 if shards or lasted >= LASTED_S else fruitless + 1
            if fruitless >= FRUITLESS_MAX:
                raise self._fruitless(status, fruitless)
            self._note("waiting", daemon=None)
            self._rest(backoff_s(waits, self._random))
        self._note("stopped", daemon=None)

    def _watch(self, group: Group) -> int:
        """Until the daemon has ended; its status."""
        asked_at: float | None = None
        while (status := group.poll()) is None:
            asked = self._stopping()
            if asked and asked_at is None:
                asked_at = self._clock.monotonic()
                self._note(STOPPING, daemon=group.pid)
                group.stop()
            if asked_at is not None:
                waited = self._clock.monotonic() - asked_at
                if asked > 1 or waited >= self._launch.grace_s + STOP_EXTRA_S:
                    _logger.warning("daemon.killed", pid=group.pid)
                    group.kill()
            self._note(self.now.state, daemon=group.pid, seldom=True)
            self._sleep(POLL_S)
        return status

    def _clear(self, group: Group) -> None:
        """See that nothing of the daemon is left, by force if need be."""
        if group.poll() is None:  # something went wrong here, and nobody waits for it any more
            group.kill()
        until = self._clock.monotonic() + CHILDREN_S
        killed = False
        while not group.is_empty():
            if not killed and self._clock.monotonic() >= until:
                _logger.warning("children.killed", daemon=group.pid)
                group.kill()
                killed = True
            self._sleep(POLL_S)

    def _rest(self, seconds: float) -> None:
        until = self._clock.monotonic() + seconds
        while not self._stopping() and (left := until - self._clock.monotonic()) > 0:
            self._sleep(min(left, POLL_S))

    def _raise_final(self, shards: Sequence[ShardHealth]) -> None:
        """Raise what one of the processes ended with, if a new one would, too."""
        for each in shards:
            if each.state == "failed" and each.exit_status is not None:
                self._note("failed", daemon=None)
                error = BinlogError(
                    each.error or "a shard's process failed",
                    each.where or f"shard {each.shard}",
                    each.do or f"see {self._launch.folder / 'logs'}",
                    shard=each.shard,
                )
                error.exit_status = each.exit_status
                raise error

    def _fruitless(self, status: int, count: int) -> StorageError:
        self._note("failed", daemon=None)
        said = last_error(self._launch.folder / "logs")
        return StorageError(
            f"the daemon ended {count} times before it had a shard, status {status}"
            + (f", {said}" if said else ""),
            str(self._launch.folder / "logs"),
            "read daemon.log there",
            status=status,
        )

    def _note(self, state: str, *, daemon: int | None, seldom: bool = False) -> None:
        now_ms = self._clock.now_ms()
        if seldom and now_ms - self.now.at_ms < 1000:
            return
        self.now.state, self.now.daemon, self.now.at_ms = state, daemon, now_ms
        self.now.shards = shards_in(self._launch.folder)
        with contextlib.suppress(OSError):
            write_json(self._launch.folder / WORKER, self.now)


def backoff_s(waits: int, random: Random) -> float:
    """How long to wait after so many daemons in a row that did not last."""
    longest: float = min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** min(waits, 10))
    return longest * random.uniform(0.5, 1.0)


def last_error(logs: Path) -> str:
    """The last line of the daemon's logs that looks like a reason; empty if there is none."""
    for name in ("daemon.log", "daemon.out"):
        try:
            with (logs / name).open("rb") as file:
                file.seek(max(0, file.seek(0, os.SEEK_END) - 64 * 1024))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            continue
        for line in reversed(lines):
            if line.startswith("Caused by:") or "Exception:" in line or " ERROR " in line:
                return " ".join(line.split())[:300]
    return ""
