"""The figures of an archive: its bytes against gzip's, its speed against zstd's alone."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from binlog.archive.compression import LEVEL
from scripts.benchmarks import archive
from scripts.benchmarks import ours as by_ours
from scripts.benchmarks.bench import Bench
from scripts.benchmarks.figures import Contest, Goal, Rival
from scripts.benchmarks.measure import Contender, Outcome, timed
from scripts.benchmarks.workload import digest_items

MEGABYTE = 1_000_000


def archive_contests(bench: Bench) -> list[Contest]:
    """Both."""
    return [_bytes(bench), _speed(bench)]


def _digest(folder: Path) -> str:
    return digest_items(by_ours.items_of(by_ours.replay(folder)))


def _bytes(bench: Bench) -> Contest:
    @cache  # the same each time
    def ours() -> Outcome:
        folder = bench.new("archive")
        archive.into_archive(bench.log, folder)
        return Outcome(archive.bytes_of(folder) / MEGABYTE, _digest(folder))

    @cache
    def by_gzip() -> Outcome:
        return Outcome(archive.gzip_bytes(bench.log) / MEGABYTE)

    return Contest(
        "archive-bytes",
        "bytes of an archive, indexes and notes included",
        "MB",
        Contender("binlog", ours),
        [Rival(Contender("the same events as gzip JSON Lines", by_gzip), Goal(0.7, at_most=True))],
        lambda: bench.expected,
    )


def _speed(bench: Bench) -> Contest:
    @cache
    def raw() -> tuple[Path, int]:
        file = bench.new("raw")
        return file, archive.write_raw(bench.log, file)

    def ours() -> Outcome:
        folder, (_, size) = bench.new("archive"), raw()
        with timed(collector=True) as clock:
            archive.into_archive(bench.log, folder)
        return Outcome(size / MEGABYTE / clock.seconds, _digest(folder))

    def by_zstd(level: int, name: str) -> Contender:
        def run() -> Outcome:
            (file, size), target = raw(), bench.new("copy")
            with timed(collector=False) as clock:
                archive.copy_through_zstd(file, target, level=level)
            return Outcome(size / MEGABYTE / clock.seconds)

        return Contender(name, run)

    return Contest(
        "archive",
        f"archiving a log of {bench.spec.events:,} events",
        "MB/s",
        Contender("binlog", ours),
        [
            Rival(by_zstd(LEVEL, f"the raw bytes through zstd, level {LEVEL} as ours"), Goal(0.5)),
            Rival(by_zstd(3, "the raw bytes through zstd, level 3")),
        ],
        lambda: bench.expected,
    )
