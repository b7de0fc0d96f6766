"""What an environment of a function has open: a log, and the store or the archive that it fills."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from appliers.store import Store
from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.named_log import with_named_archive
from binlog.clock import Clock
from binlog.log import Log, Record, Shard
from binlog.objects.objects import Objects
from consumers.archive_worker import ArchiveWorker
from consumers.aws_lambda_event import Delivered
from consumers.aws_lambda_settings import Settings
from consumers.delivery import Worker, record_of
from consumers.working import Outcome, Working


class Works(Protocol):
    """What does the work: `consumers.delivery.Worker`, `consumers.archive_worker.ArchiveWorker`."""

    def shard(self, shard: str) -> Shard: ...

    def apply(
        self, shard: str, records: Sequence[Record], *, deadline: float | None = None
    ) -> Outcome: ...


class Opened:
    """A log and its worker, as long as nothing goes wrong."""

    log: Log
    worker: Works

    def records(self, delivered: Delivered) -> list[Record]:
        """What was delivered as any reader of the log gives it.

        Raises:
            MismatchError: the stream has no such shard.
        """
        shard, partitions = self.worker.shard(delivered.shard), self.log.params.partitions
        return [
            record_of(
                shard,
                sequence=int(each.sequence_number),
                arrival_s=each.approximate_arrival_timestamp,
                partition_key=each.partition_key,
                data=each.data,
                partitions=partitions,
            )
            for each in delivered.records
        ]

    def set_lanes(self, *, lanes: bool) -> None:
        """Whether partitions of a shard are delivered apart from one another."""
        raise NotImplementedError

    def is_running(self) -> bool:
        """Whether anything was applied, or archived, yet."""
        raise NotImplementedError

    def close(self) -> None:
        """Give up the connections."""
        raise NotImplementedError


class OpenedStore(Opened):
    """With a store."""

    def __init__(self, settings: Settings, log: Log, store: Store, clock: Clock) -> None:
        self.log = log
        self._store = store
        how = Working(
            rules=settings.rules,
            excluded=settings.excluded,
            same_meaning=settings.same_meaning,
            poison=settings.poison,
        )
        self.worker = self._worker = Worker(log, store, how, clock=clock)

    def set_lanes(self, *, lanes: bool) -> None:
        self._worker.continuity.lanes = lanes

    def is_running(self) -> bool:
        return any(self._store.checkpoints(each.id) for each in self._store.generations())

    def close(self) -> None:
        self._store.close()
        self.log.close()


class OpenedArchive(Opened):
    """With an archive, made now if there is none."""

    def __init__(self, log: Log, objects: Objects, clock: Clock) -> None:
        self.log = log
        self._archive = Archive.create(objects, log.params, log.genesis)
        self.worker = ArchiveWorker(log, self._archive, clock=clock)

    def set_lanes(self, *, lanes: bool) -> None:
        """It goes by the log itself, whatever is delivered together."""

    def is_running(self) -> bool:
        partitions = range(self.log.params.partitions)
        return any(self._archive.chain(p).end_place() is not None for p in partitions)

    def close(self) -> None:
        self._archive.close()
        self.log.close()


def open_settings(
    settings: Settings,
    *,
    clock: Clock,
    open_log: Callable[[str], Log],
    open_store: Callable[[str], Store],
    open_objects: Callable[[str], Objects],
) -> Opened:
    """What these settings name; nothing stays open where one of it cannot be.

    Raises:
        BinlogError: it cannot be opened, or does not belong together.
    """
    log = open_log(settings.log)
    filled: Store | Objects | None = None
    try:
        if settings.archive is not None:
            filled = objects = open_objects(settings.archive)
            return OpenedArchive(log, objects, clock)

        def opened(url: str) -> ArchiveLog:
            return ArchiveLog(Archive.open(open_objects(url)), fetches=0, clock=clock)

        # Asked only for what the stream has forgotten: a look at every chain would take too long.
        if settings.older is not None:
            log = ArchivedLog(log, opened(settings.older), archive_first=False)
        else:
            log = with_named_archive(log, opened)
        filled = store = open_store(settings.store)
        return OpenedStore(settings, log, store, clock)
    except BaseException:
        if filled is not None:
            filled.close()
        log.close()
        raise
