"""The health file of one shard's process, and of the daemon above it: JSON, replaced as a whole.

``shards/SHARD.json`` in the worker's folder is written by the process that has the shard, at most
once a second and at every change of its state; ``worker.json`` by the supervisor. Whoever watches
reads files: nothing has to be asked, and what was last written stays when the process is gone.

==========  ====================================================================================
starting    it opens log and store
working     it applies what comes
delayed     what it needs does not answer, or is throttled; it tries again
halted      it waits for a person: ``binlog resolve``, or for other appliers
lost        another worker has the shard
ended       the shard has ended, all of it is applied
stopped     asked to, cleanly
orphaned    the daemon went away
failed      the process ended for a reason that trying again does not mend
==========  ====================================================================================
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import msgspec

from binlog.clock import Clock
from binlog.errors import BinlogError
from consumers.delivery import Outcome
from consumers.metrics import SAVE_EVERY_S, write_json

SHARDS = "shards"
WORKER = "worker.json"
STOPPING = "stopping"  # the state of a worker whose daemon is to end


class ShardHealth(msgspec.Struct, kw_only=True):
    """One shard's file. Times are ms since 1970; the figures are those of `consumers.metrics`."""

    shard: str = ""
    pid: int = 0
    state: str = "starting"
    at_ms: int = 0
    started_ms: int = 0
    behind_ms: int | None = None  # as KCL says; of a record that is there to be applied, its age
    runway_ms: int | None = None
    events: int = 0
    writes: int = 0
    rejected: int = 0
    parked: int = 0
    duplicates: int = 0
    foreign: int = 0
    batches: int = 0
    rested_ms: int = 0  # held back by the pace
    checkpoint: str | None = None  # the number that KCL was last told
    error: str | None = None
    where: str | None = None
    do: str | None = None
    exit_status: int | None = None  # of the command, where the error ends it

    @property
    def settled(self) -> bool:
        """Whether it ended as it should."""
        return self.state in {"lost", "ended", "stopped"}


def shards_in(folder: Path, *, since_ms: int = 0) -> list[ShardHealth]:
    """What the processes last wrote since then; files that are none are passed over."""
    found = []
    for path in sorted((folder / SHARDS).glob("*.json")):
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            each = msgspec.json.decode(path.read_bytes(), type=ShardHealth)
            if each.at_ms >= since_ms:
                found.append(each)
    return found


class _State(msgspec.Struct):
    """As much of ``worker.json`` as a shard's process reads."""

    state: str = ""
    daemon: int | None = None


def is_stopping(folder: Path, daemon: int) -> bool:
    """Whether the supervisor was asked to end that daemon; ``False`` where there is none.

    What an earlier one has left there is of another daemon.
    """
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        found = msgspec.json.decode((folder / WORKER).read_bytes(), type=_State)
        return found.state == STOPPING and found.daemon == daemon
    return False


class Health:
    """Keeps the file of one shard; without a folder the figures alone."""

    def __init__(self, folder: Path | None, clock: Clock) -> None:
        self._folder = folder
        self._clock = clock
        self._saved_at: float | None = None
        self.now = ShardHealth(pid=os.getpid(), started_ms=clock.now_ms())

    def begin(self, shard: str) -> None:
        """The shard is known."""
        self.now.shard = shard
        self.save()

    def note_behind(self, behind_ms: int | None) -> None:
        """What KCL says of the distance to the shard's end."""
        self.now.behind_ms = behind_ms

    def note_rest(self, seconds: float) -> None:
        """It was held back by the pace for so long."""
        self.now.rested_ms += round(seconds * 1000)

    def note_age(self, behind_s: float, left_s: float | None) -> None:
        """What it is to apply is so old, and the log keeps it for so long."""
        self.now.behind_ms = round(behind_s * 1000)
        self.now.runway_ms = None if left_s is None else round(left_s * 1000)
        self.save(force=False)

    def note_checkpoint(self, sequence: int) -> None:
        """KCL wrote it down."""
        self.now.checkpoint = str(sequence)

    def add(self, outcome: Outcome) -> None:
        """Count a batch, or a part of one."""
        now = self.now
        now.batches += 1
        for name in ("events", "writes", "rejected", "parked", "duplicates", "foreign"):
            setattr(now, name, getattr(now, name) + getattr(outcome, name))

    def wait(self, error: BinlogError, *, standing: bool) -> None:
        """It does not go on at the moment."""
        state = "halted" if standing else "delayed"
        self._tell(error)
        changed, self.now.state = self.now.state != state, state
        self.save(force=changed)

    def went_on(self) -> None:
        """It goes on again."""
        self.now.state = "working"
        self.now.error = self.now.where = self.now.do = None
        self.save()

    def fail(self, error: BinlogError) -> None:
        """The process is about to end; with an exit status where a new one would end likewise."""
        self._tell(error)
        self.now.state = "failed"
        self.now.exit_status = None if error.retriable else error.exit_status
        self.save()

    def end(self, state: str) -> None:
        """Nothing comes any more."""
        self.now.state = state
        self.save()

    def _tell(self, error: BinlogError) -> None:
        self.now.error, self.now.where, self.now.do = error.what, error.where, error.do

    def save(self, *, force: bool = True) -> None:
        """Write the file, if it is time; a disk that is full stops nothing."""
        now = self._clock.monotonic()
        if not force and self._saved_at is not None and now - self._saved_at < SAVE_EVERY_S:
            return
        self._saved_at = now
        self.now.at_ms = self._clock.now_ms()
        if self._folder is None or not self.now.shard:
            return
        with contextlib.suppress(OSError):
            folder = self._folder / SHARDS
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / f"{self.now.shard}.json", self.now)
