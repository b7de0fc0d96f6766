"""Runs one KCL worker: what is needed is looked at first, then the daemon is started."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any
from xml.sax.saxutils import quoteattr

from appliers.address import open_store
from binlog.address import open_log
from binlog.archive import Archive
from binlog.aws.account import connector
from binlog.clock import Clock, SystemClock
from binlog.objects.address import open_objects
from consumers.archive_worker import ArchiveWorker
from consumers.delivery import Worker, Working
from consumers.kcl_daemon import Launch, Supervisor
from consumers.kcl_health import SHARDS
from consumers.kcl_java import find_java, jars_folder
from consumers.kcl_leader import release_leader
from consumers.kcl_plan import REMARKS, Plan
from consumers.kcl_process import FolderLock, ProcessGroup
from consumers.kcl_properties import write_properties
from consumers.kcl_settings import Settings
from consumers.pace import check_distance
from consumers.pacer import retention_of

MAIN = "software.amazon.kinesis.multilang.MultiLangDaemon"
JVM_OPTIONS = ("-Xmx256m", "-XX:+ExitOnOutOfMemoryError")

# The daemon's own log goes to standard output, unless it is told otherwise.
_LOGBACK = """<configuration>
  <appender name="FILE" class="ch.qos.logback.core.rolling.RollingFileAppender">
    <file>{file}</file>
    <rollingPolicy class="ch.qos.logback.core.rolling.FixedWindowRollingPolicy">
      <fileNamePattern>{file}.%i</fileNamePattern><minIndex>1</minIndex><maxIndex>2</maxIndex>
    </rollingPolicy>
    <triggeringPolicy class="ch.qos.logback.core.rolling.SizeBasedTriggeringPolicy">
      <maxFileSize>10MB</maxFileSize>
    </triggeringPolicy>
    <encoder><pattern>%d %p %t %c{{1}} %m%n%ex{{3}}</pattern></encoder>
  </appender>
  <root level="WARN"><appender-ref ref="FILE"/></root>
  <logger name="software.amazon.kinesis" level="INFO"/>
  <logger name="software.amazon.kinesis.multilang" level="WARN"/>
</configuration>
"""


def run_worker(
    plan: Plan,
    *,
    java: str | None = None,
    jvm_options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    clock: Clock | None = None,
    ready: Callable[[], object] = lambda: None,
) -> None:
    """Run the worker until SIGTERM or SIGINT; a second one ends it at once.

    ``ready`` is called when all was looked at, and the first daemon is about to start.

    Raises:
        RefusedError: no Java, no jars, a property that KCL would drop, no such log or store.
        MismatchError, BusyError: as the log's, the store's and the folder's own say.
        StorageError: the daemon does not get as far as having a shard.
    """
    environment = os.environ if environment is None else environment
    clock = SystemClock() if clock is None else clock
    found, jars = find_java(environment, java), jars_folder()
    properties = plan.properties()
    look_at(plan.settings)
    with stopping_by_signals() as stopping:
        lock = FolderLock(plan.folder)
        try:
            lock.take(clock=clock, sleep=time.sleep, stopping=stopping)
            paths = _write_files(plan.folder, properties)
            launch = Launch(
                command=[
                    found.program,
                    *JVM_OPTIONS,
                    *jvm_options,
                    *("-cp", f"{jars}{os.sep}*", MAIN),
                    *("--properties-file", str(paths[0]), "--log-configuration", str(paths[1])),
                ],
                environment=plan.settings.environment_of_children(environment),
                folder=plan.folder,
                grace_s=int(properties.get("shutdownGraceMillis", "0")) / 1000,
            )

            leases = connector(plan.account, "dynamodb", "--leases")()

            def start() -> ProcessGroup:
                release_leader(leases, plan.leader_table, plan.worker)
                group = ProcessGroup(launch, lock.file)
                lock.note(daemon=group.pid)
                return group

            ready()
            Supervisor(
                launch,
                worker=plan.worker,
                start=start,
                clock=clock,
                random=Random(),
                sleep=time.sleep,
                stopping=stopping,
            ).run()
        finally:
            lock.close()


def look_at(settings: Settings) -> None:
    """Open log and store as every child will, so that what is wrong shows here and in one line.

    Raises:
        BinlogError: it would not work.
    """
    if settings.archive is not None:
        with (
            contextlib.closing(open_log(settings.log)) as log,
            contextlib.closing(open_objects(settings.archive)) as objects,
        ):
            ArchiveWorker(log, Archive.create(objects, log.params, log.genesis))
        return
    how = Working(
        rules=settings.load_rules(),
        excluded=settings.excluded,
        same_meaning=settings.same_meaning,
        poison=settings.poison,
    )
    with (
        contextlib.closing(open_log(settings.log)) as log,
        contextlib.closing(open_store(settings.store)) as store,
    ):
        if settings.setting.max_behind_s is not None:
            check_distance(settings.setting.max_behind_s, retention_of(log), log.name)
        outcome = Worker(log, store, how).apply(log.shards()[-1].id, [])
        if outcome.error is not None and not outcome.error.retriable:
            raise outcome.error


def _write_files(folder: Path, properties: Mapping[str, str]) -> tuple[Path, Path]:
    """The daemon's properties and the configuration of its log; what shards said before is gone."""
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    for said in (folder / SHARDS).glob("*.json"):
        said.unlink(missing_ok=True)
    paths = folder / "daemon.properties", folder / "logback.xml"
    paths[0].write_text(write_properties(properties, REMARKS), encoding="ascii")
    log = quoteattr(str((folder / "logs" / "daemon.log").absolute()))[1:-1]
    paths[1].write_text(_LOGBACK.format(file=log), encoding="utf-8")
    return paths


@contextlib.contextmanager
def stopping_by_signals() -> Iterator[Callable[[], int]]:
    """How often somebody has asked us to end."""
    asked = 0

    def ask(*_: int | FrameType | None) -> None:
        nonlocal asked
        asked += 1

    before: dict[int, Any] = {n: signal.signal(n, ask) for n in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
