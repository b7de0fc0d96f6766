"""Who fetches ahead: not one of as many workers as there are CPUs, unless it waits for a service."""

from __future__ import annotations

import pytest

from binlog import address, cpus
from binlog.archive import Archive, cursors
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiving, archive
from binlog.cli.rebuild import processors
from binlog.clock import ManualClock
from binlog.logs.memory import MemoryLog
from binlog.objects.address import open_objects
from binlog.reader import Reader
from snapshots.workers import run_forked
from tests.log.log_frames import PARAMS, put


@pytest.fixture
def two_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the machine, and nothing shared before or after."""
    monkeypatch.setattr(cpus, "cpus", lambda: 2)
    monkeypatch.setattr(cpus, "_workers", 1)


@pytest.fixture
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small archive in a directory."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    for number in (1, 2):
        log.append([put(number, partition=p) for p in range(PARAMS.partitions)])
    found = f"file:{tmp_path_factory.mktemp('kept')}"
    archive(log, Archive.create(open_objects(found), log.params, log.genesis), Archiving(once=True))
    return found


def fetched_ahead(log: ArchiveLog, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many blocks are fetched by threads while all of it is read."""
    count = 0
    start = cursors.Fetch.start

    def counted(fetch: cursors.Fetch) -> bool:
        nonlocal count
        count += 1
        return start(fetch)

    monkeypatch.setattr(cursors.Fetch, "start", counted)
    reader = Reader(log)
    while reader.read() is not None:
        pass
    assert [sequencer.offset for sequencer in reader.sequencers.values()] == [2] * PARAMS.partitions
    return count


@pytest.mark.parametrize(("workers", "is_ahead"), [(1, True), (2, False), (3, False)])
def test_a_local_archive_is_fetched_ahead_where_a_cpu_is_left(
    two_cpus: None, url: str, monkeypatch: pytest.MonkeyPatch, *, workers: int, is_ahead: bool
) -> None:
    """Its blocks are worked on, not waited for, and a thread more works no faster then."""
    cpus.share(workers)
    log = address.open_log(url)
    assert isinstance(log, ArchiveLog)
    assert bool(fetched_ahead(log, monkeypatch)) == is_ahead


def test_what_a_service_keeps_is_fetched_ahead_by_every_worker(
    two_cpus: None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read takes tens of milliseconds, of no CPU's time."""
    cpus.share(2)
    log = ArchiveLog(Archive.open(open_objects(url)))
    assert fetched_ahead(log, monkeypatch)


def test_a_worker_knows_how_many_share_the_work(two_cpus: None) -> None:
    """As many as there is work for; who began them is none of them."""

    def spare(_: int, __: object) -> bool:
        return cpus.has_spare()

    assert run_forked(spare, [1, 2], workers=2, name="a test") == [False, False]
    assert run_forked(spare, [1], workers=2, name="a test") == [True]
    assert cpus.has_spare()


def test_a_handle_that_was_opened_before_the_fork_is_one_of_the_workers(
    two_cpus: None, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rebuild opens the log, and its workers inherit it."""
    log = address.open_log(url)
    assert isinstance(log, ArchiveLog)
    log.size_bytes()

    def count(_: int, __: object) -> int:
        return fetched_ahead(log, monkeypatch)

    assert run_forked(count, [1, 2], workers=2, name="a test") == [0, 0]
    assert fetched_ahead(log, monkeypatch)


def test_only_those_count_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """One in a container of one, whatever the machine has; and some systems do not tell."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {7}, raising=False)
    monkeypatch.setattr("os.cpu_count", lambda: 16)
    assert cpus.cpus() == processors() == 1
    monkeypatch.delattr("os.sched_getaffinity")
    assert cpus.cpus() == 16
    monkeypatch.setattr("os.cpu_count", lambda: None)
    assert cpus.cpus() == 1
