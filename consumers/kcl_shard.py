"""One shard of a KCL worker: what is done with each of the daemon's messages.

KCL goes on behind whatever a processor returns from, and checkpoints only when it is told to; the
Python side of it swallows exceptions. Invariants:

* what KCL is told to checkpoint is durable, and so are our rows of it (C3);
* nothing returns normally after a failure, not even later ones of KCL's messages: the process ends,
  and the daemon, which then ends too, is started anew by its supervisor;
* the end of a shard is told to KCL (a checkpoint without a number, after which its children start)
  only when our rows have reached it (C4);
* a lease that was lost is nobody's failure: who has it now goes on at its checkpoint, and whatever
  both of us write is put in order by the items' versions.

A paced one waits within a batch, between parts of it, so that what has been done of the batch is told
to KCL meanwhile. Where that tells it that the lease is lost, or where the worker was told to end, the
rest of the batch is left: the process then takes no more records, nor a shard's end.

What may pass by itself is tried again in place, so that one throttled table does not end the daemon
with all its shards; so is what a person decides on, a halt above all. Meanwhile the messages of the
daemon, a lost lease too, wait in the pipe: only that it closed can be seen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import NoReturn, Protocol

import msgspec

from binlog.clock import Clock
from binlog.errors import BinlogError, HaltedError, PoisonError, StorageError
from binlog.log import Record
from binlog.logger import get_logger
from consumers.delivery import Outcome
from consumers.kcl_health import Health
from consumers.kcl_parts import part_end

SLICE_BYTES = 8 * 1024 * 1024  # of a batch that are applied at once
CHECKPOINT_EVERY_S = 10.0  # each one costs a write to the lease table
RETRY_FIRST_S, RETRY_MAX_S = 0.2, 10.0
PATIENCE_S = 300.0  # with what may pass by itself; a new process may have better connections
STANDING_S = 5.0  # between two tries where a person has to decide
ALARM_EVERY_S = 60.0
CHECKPOINT_TRIES = 5

# Names of Java exceptions, which the daemon answers a checkpoint with.
LEASE_LOST = "ShutdownException"
PASSING = frozenset({"ThrottlingException", "KinesisClientLibDependencyException"})

EXIT_FAILED = 70  # of the process: the supervisor starts all anew
EXIT_ORPHANED = 71  # the daemon is gone

_logger = get_logger(__name__)


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A record as KCL gives it: it takes aggregates of the KPL apart, and counts in ``sub``."""

    sequence: int
    sub: int
    arrival_ms: int
    partition_key: str
    data: bytes


class CheckpointRefusedError(Exception):
    """KCL's answer to a checkpoint was an error; ``name`` is its Java class."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class Checkpointer(Protocol):
    """Tells KCL how far we are; without a number, that the shard's end is reached.

    Raises:
        CheckpointRefusedError: it was not written down.
    """

    def __call__(self, sequence: int | None = None, sub: int | None = None) -> None: ...


class Applies(Protocol):
    """What does the work: `consumers.delivery.Worker`."""

    def apply(self, shard: str, records: Sequence[Record], *, closed: bool = False) -> Outcome: ...

    def heard(self, shard: str) -> None: ...


class Paces(Protocol):
    """How fast to go: `consumers.kcl_pace.ShardPace`."""

    def behind_s(self, oldest_ms: int) -> float: ...

    def left_s(self, oldest_ms: int | None) -> float | None: ...

    def wait_s(self, oldest_ms: int) -> float: ...

    def note(self, done: Outcome, *, through_ms: int, size: int) -> None: ...

    def page_bytes(self) -> int: ...


class Ways(Protocol):
    """What a shard needs around it."""

    @property
    def clock(self) -> Clock: ...

    @property
    def random(self) -> Random: ...

    def wait(self, seconds: float) -> bool:
        """Wait; ``False`` as soon as the daemon has gone."""

    def open(
        self, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        """The worker, and what turns what KCL gives of that shard into the log's records.

        KCL goes on at the record ``after``, or behind it; -1: at the beginning.
        """

    def pace(self, shard: str) -> Paces | None:
        """How fast to go with that shard, which was opened; ``None``: as fast as can be."""

    def is_ending(self) -> bool:
        """Whether the worker was told to end, and nobody waits for a batch any more."""


class ShardConsumer:
    """Handles the messages of one process, in the order in which the daemon sends them."""

    def __init__(self, ways: Ways, health: Health) -> None:
        self._ways = ways
        self.health = health
        self._failed: BinlogError | None = None
        self._lost = False
        self._left = False  # records that were handed over were not applied
        self._pace: Paces | None = None
        self._shard = ""
        self._say = _logger
        self._done: tuple[int, int] | None = None  # durable, and not yet told to KCL
        self._told_at = ways.clock.monotonic()

    @property
    def has_left(self) -> bool:
        """Whether it has left records that it was given: it takes nothing more."""
        return self._left

    # -- messages ----------------------------------------------------------------------------------

    def initialize(self, shard: str, sequence: str) -> None:
        """The first message; ``sequence`` is where KCL goes on, or a word such as TRIM_HORIZON."""
        self._begin()
        self._shard = shard
        self._say = _logger.bind(shard=shard)
        self.health.begin(shard)
        try:
            after = int(sequence) if sequence.isdecimal() else -1
            self._worker, self._records_of = self._ways.open(shard, after)
            self._pace = self._ways.pace(shard)
        except BinlogError as error:
            self._fail(error)
        self.health.went_on()
        self._say.info("shard.started", sequence=sequence)

    def process(
        self, delivered: Sequence[Delivered], behind_ms: int | None, checkpoint: Checkpointer
    ) -> None:
        """Apply a batch of any size; on return all of it is durable, unless it was left."""
        self._begin()
        if self._left and self._ways.is_ending():
            return  # batches that were fetched before it was told so come before its last message
        self._refuse_if_left()
        self.health.note_behind(behind_ms)
        if not delivered:
            self._worker.heard(self._shard)
        begin = 0
        while begin < len(delivered):
            if not self._rest(delivered[begin]):
                self._left = True
                self._say.info("batch.left", sequence=delivered[begin].sequence)
                break
            end = part_end(delivered, begin, self._part_bytes())
            self._apply(delivered[begin:end])
            begin, last = end, delivered[end - 1]
            self._done = last.sequence, last.sub
            if self._ways.clock.monotonic() - self._told_at >= CHECKPOINT_EVERY_S:
                self._checkpoint(checkpoint)
        if self._pace is not None and not self._left and not behind_ms:
            self._note_age(self._pace, None)
        self.health.save(force=False)

    def lease_lost(self) -> None:
        """Another worker has the shard, or will: nothing of it is ours to checkpoint."""
        self._begin()
        self._lost = True
        if not self.health.now.settled:  # it also comes last in a clean end
            self._end("lost")

    def shard_ended(self, checkpoint: Checkpointer) -> None:
        """All of the shard was delivered; its children start when KCL is told that it is done."""
        self._begin()
        self._refuse_if_left()
        self._retry(lambda: self._worker.apply(self._shard, [], closed=True))
        self._done = None
        if not self._tell(checkpoint, None, None) and not self._lost:
            self._fail(StorageError("the end of the shard could not be told to KCL", self._shard))
        self._end("ended")

    def shutdown_requested(self, checkpoint: Checkpointer) -> None:
        """The daemon is about to end, or to hand the lease over: a last chance to checkpoint."""
        self._begin()
        self._checkpoint(checkpoint)
        self._end("stopped")

    def guard(self, error: Exception) -> NoReturn:
        """Whatever else went wrong, which would be taken for success."""
        self._fail(
            error
            if isinstance(error, BinlogError)
            else StorageError(f"unexpected {type(error).__name__}: {error}", self._shard)
        )

    # -- work --------------------------------------------------------------------------------------

    def _begin(self) -> None:
        if self._failed is not None:
            raise SystemExit(EXIT_FAILED)

    def _refuse_if_left(self) -> None:
        """What comes after records that were not applied is not for this process."""
        if self._left:
            self._end("stopped")
            raise SystemExit(EXIT_FAILED)

    def _rest(self, oldest: Delivered) -> bool:
        """Wait until it may be applied; ``False``: nobody waits for that any more."""
        pace = self._pace
        if pace is None:
            return True
        self._note_age(pace, oldest.arrival_ms)
        while not self._lost and (wait_s := pace.wait_s(oldest.arrival_ms)):
            if self._ways.is_ending():
                return False
            self._wait(wait_s)
            self.health.note_rest(wait_s)
            self._note_age(pace, oldest.arrival_ms)
        return not self._lost

    def _note_age(self, pace: Paces, at_ms: int | None) -> None:
        """Of what is applied next, which arrived then; ``None``: nothing is left."""
        self.health.note_age(0 if at_ms is None else pace.behind_s(at_ms), pace.left_s(at_ms))

    def _part_bytes(self) -> int:
        """How much of a batch to apply at once."""
        return SLICE_BYTES if self._pace is None else min(SLICE_BYTES, self._pace.page_bytes())

    def _apply(self, delivered: Sequence[Delivered]) -> None:
        left = self._retried(lambda: self._records_of(delivered))
        progress: list[int] = []
        done = Outcome(None, None)

        def step() -> Outcome:
            nonlocal left, done
            outcome = self._worker.apply(self._shard, left)
            self.health.add(outcome)
            done = Outcome(None, None, done.events + outcome.events, done.writes + outcome.writes)
            if outcome.first_failed is not None:
                kept = [r for r in left if r.sequence >= outcome.first_failed]
                if len(kept) < len(left):
                    progress.append(len(kept))
                left = kept
            return outcome

        self._retry(step, progress)
        if self._pace is not None:
            size = sum([len(each.data) for each in delivered])
            self._pace.note(done, through_ms=delivered[-1].arrival_ms, size=size)

    def _retried(self, call: Callable[[], list[Record]]) -> list[Record]:
        """What ``call`` gives, once it gives anything."""
        found: list[Record] = []

        def step() -> Outcome:
            try:
                found[:] = call()
            except BinlogError as error:
                return Outcome(-1, error)
            return Outcome(None, None)

        self._retry(step)
        return found

    def _retry(self, step: Callable[[], Outcome], progress: Sequence[int] = ()) -> None:
        """Do ``step`` until all is done; end the process where that makes no sense.

        ``progress`` grows when a step that failed has done something.
        """
        clock = self._ways.clock
        since = alarmed = None
        tries = made = 0
        while True:
            try:
                outcome = step()
            except BinlogError as raised:
                outcome = Outcome(-1, raised)
            error = outcome.error
            if error is None and outcome.first_failed is None:
                if since is not None:
                    self._say.info("shard.went_on")
                    self.health.went_on()
                return
            if error is None:
                error = StorageError("a record is not durable, and nothing says why", self._shard)
            standing = isinstance(error, HaltedError | PoisonError)
            if not error.retriable and not standing:
                self._fail(error)
            now = clock.monotonic()
            if since is None or len(progress) > made:
                since, tries, made = now, 0, len(progress)
            if not standing and now - since >= PATIENCE_S:
                self._fail(error)
            if alarmed is None or now - alarmed >= ALARM_EVERY_S:
                alarmed = now
                self._say.error(
                    "shard.halted" if standing else "shard.delayed",
                    error=str(error),
                )
            self.health.wait(error, standing=standing)
            if standing:
                pause = STANDING_S
            else:
                pause = min(RETRY_MAX_S, RETRY_FIRST_S * 2 ** min(tries, 10))
                pause *= self._ways.random.uniform(0.5, 1.0)
            tries += 1
            self._wait(pause)

    def _wait(self, seconds: float) -> None:
        if not self._ways.wait(seconds):
            self._say.warning("daemon.lost")
            self._end("orphaned")
            raise SystemExit(EXIT_ORPHANED)

    def _fail(self, error: BinlogError) -> NoReturn:
        self._failed = error
        self._say.error("shard.failed", error=str(error))
        self.health.fail(error)
        raise SystemExit(EXIT_FAILED) from error

    def _end(self, state: str) -> None:
        self._say.info("shard.ended", state=state)
        self.health.end(state)

    # -- checkpoints of KCL ------------------------------------------------------------------------

    def _checkpoint(self, checkpoint: Checkpointer) -> None:
        """Tell KCL what is durable; if it cannot be told now it is told later, being only behind."""
        if self._done is not None and self._tell(checkpoint, *self._done):
            self.health.note_checkpoint(self._done[0])
            self._done = None

    def _tell(self, checkpoint: Checkpointer, sequence: int | None, sub: int | None) -> bool:
        """Whether it was written down."""
        tries = 0
        while not self._lost:
            try:
                checkpoint(sequence, sub)
            except CheckpointRefusedError as refused:
                if refused.name == LEASE_LOST:
                    self._say.info("lease.lost")
                    self._lost = True
                elif refused.name not in PASSING:
                    # InvalidStateException above all: the pipe's two ends do not agree any more.
                    self._fail(
                        StorageError(
                            f"KCL refuses the checkpoint {sequence}: {refused.name}", self._shard
                        )
                    )
                elif tries == CHECKPOINT_TRIES:
                    self._say.warning("checkpoint.delayed", why=refused.name)
                    break
                else:
                    self._wait(RETRY_FIRST_S * 2**tries * self._ways.random.uniform(0.5, 1.0))
                    tries += 1
            else:
                self._told_at = self._ways.clock.monotonic()
                return True
        self._told_at = self._ways.clock.monotonic()  # not again at once
        return False
