"""What one shard's process has around it: settings, log, store, clock, and the daemon's pipe."""

from __future__ import annotations

import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from logging.handlers import RotatingFileHandler
from pathlib import Path
from random import Random

from appliers.address import open_store
from binlog.address import Named, open_log, parse_address
from binlog.archive import Archive
from binlog.clock import Clock, SystemClock
from binlog.errors import BinlogError
from binlog.log import Record
from binlog.logger import PACKAGES, is_json
from binlog.objects.address import open_objects
from consumers.archive_worker import ArchiveWorker
from consumers.delivery import Worker, Working
from consumers.kcl_gathering import GatheringConsumer
from consumers.kcl_health import Health, is_stopping
from consumers.kcl_pace import ShardPace
from consumers.kcl_records import Records
from consumers.kcl_settings import Settings, settings_of
from consumers.kcl_shard import EXIT_FAILED, Applies, Delivered, Paces, ShardConsumer

LOG_BYTES_MAX, LOGS_KEPT = 10 * 1024 * 1024, 2


class Surroundings:
    """`consumers.kcl_shard.Ways` of a process."""

    def __init__(self, settings: Settings, messages: int, clock: Clock | None = None) -> None:
        self.clock: Clock = SystemClock() if clock is None else clock
        self.random = Random()
        self._settings = settings
        self._pace: Paces | None = None
        self._closed = select.poll()
        # Nothing is asked for: what is reported without asking is that the other end has closed.
        self._closed.register(messages, 0)

    def wait(self, seconds: float) -> bool:
        return not self._closed.poll(max(1, round(seconds * 1000)))

    def open(
        self, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        settings = self._settings
        write_log(settings.folder, shard)
        if settings.archive is not None:
            return self._open_archive(settings.archive, shard, after)
        how = Working(
            rules=settings.load_rules(),
            excluded=settings.excluded,
            same_meaning=settings.same_meaning,
            poison=settings.poison,
        )
        # The archive only for what the stream has forgotten: each process has one shard to look after.
        log = open_log(settings.log, settings.older, archive_first=False, named=Named())
        store = open_store(settings.store)
        worker = Worker(log, store, how)
        worker.continuity.unbroken = True  # as long as the lease is ours
        found = worker.shard(shard)
        reads = parse_address(settings.log).reads
        self._pace = ShardPace(log, store, settings.setting, found, self.clock, reads=reads)
        return worker, Records(log, found, after)

    def _open_archive(
        self, url: str, shard: str, after: int
    ) -> tuple[Applies, Callable[[Sequence[Delivered]], list[Record]]]:
        log = open_log(self._settings.log)
        archive = Archive.create(open_objects(url), log.params, log.genesis)
        worker = ArchiveWorker(log, archive, whole=True, clock=self.clock)
        return worker, Records(log, worker.shard(shard), after)

    def pace(self, shard: str) -> Paces | None:
        del shard  # a process has one
        return self._pace

    def is_ending(self) -> bool:
        folder = self._settings.folder
        return folder is not None and is_stopping(folder, os.getppid())


def run_child(messages: int, answers: int) -> int:
    """Handle messages until the daemon is done; the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    try:
        settings = settings_of(os.environ)
    except BinlogError as error:
        _say(str(error))
        return EXIT_FAILED
    try:
        from consumers import kcl_processor
    except ImportError as error:
        _say(f"{error}: {sys.executable}: pip install 'kinesis-binlog[kcl]'")
        return EXIT_FAILED
    ways = Surroundings(settings, messages)
    health = Health(settings.folder, ways.clock)
    if settings.archive is None:
        shard = ShardConsumer(ways, health)
    else:
        shard = GatheringConsumer(ways, health, every_s=settings.segment_every_s)
    with open(messages, encoding="utf-8") as lines, open(answers, "w", encoding="utf-8") as replies:
        try:
            kcl_processor.run(shard, messages=lines, answers=replies, errors=sys.stderr)
        except BrokenPipeError:
            return EXIT_FAILED  # the daemon is gone; there is nobody to tell
    return 0


def write_log(folder: Path | None, shard: str) -> None:
    """Have our own events written to a file of the shard; without a folder to standard error."""
    handler: logging.Handler
    if folder is None:
        handler, level = logging.StreamHandler(sys.stderr), logging.WARNING
    else:
        logs = folder / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        path = logs / f"{shard}.log"
        handler = RotatingFileHandler(
            path, maxBytes=LOG_BYTES_MAX, backupCount=LOGS_KEPT, encoding="utf-8"
        )
        level = logging.INFO
    words = "%(message)s" if is_json() else "%(asctime)s %(process)d %(levelname)s %(message)s"
    handler.setFormatter(logging.Formatter(words))
    for name in PACKAGES:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.addHandler(handler)
        logger.propagate = False


def _say(text: str) -> None:
    """To the daemon's log; who reads there has nothing but this line."""
    sys.stderr.write(f"binlog: {text}\n")
    sys.stderr.flush()
