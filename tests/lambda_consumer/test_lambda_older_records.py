"""A function with BINLOG_ARCHIVE beside its store: what was forgotten undelivered it reads there."""

from __future__ import annotations

from contextlib import closing
from typing import Any

import pytest
from msgspec.structs import replace

from binlog.archive import Archive
from binlog.archive.announcement import announce
from binlog.archive.archiver import Archiving, archive
from binlog.objects.memory import MemoryObjects
from consumers.aws_lambda_function import Function
from tests.lambda_consumer.function_world import KEYS, Context, FunctionWorld

HOUR_MS = 3_600_000


class Away:
    """A mapping that is disabled for a day, a function behind it, and an archiver that is not away."""

    def __init__(self, *, announced: bool = False) -> None:
        self.world = FunctionWorld(mapping="trust")
        self.world.stream.retention_hours = 24
        if announced:
            with closing(self.world.open_log()) as log:
                announce(log, "s3://kept/orders")
        else:
            self.world.settings = replace(self.world.settings, older="s3://kept/orders")
        self.objects = MemoryObjects("s3://kept/orders")
        self.keep()
        self.mapping = self.world.mapping(self.invoke)

    def function(self) -> Function:
        return self.world.environment(open_objects=lambda _: self.objects)

    def invoke(self, event: dict[str, Any]) -> Any:
        return self.function().handle(event, Context())

    def keep(self) -> None:
        with closing(self.world.open_log()) as log:
            kept = Archive.create(self.objects, log.params, log.genesis)
            archive(log, kept, Archiving(once=True), clock=self.world.clock)

    def hours(self, hours: float) -> None:
        self.world.world.clock.advance(round(hours * HOUR_MS))
        self.world.stream.trim(self.world.clock.now_ms())


def a_day_away(away: Away, *, kept: bool) -> None:
    away.world.publish(KEYS)
    away.mapping.run()
    away.hours(1)
    away.world.publish(KEYS)  # nobody is delivered these
    for hours in (12, 13):
        if kept:
            away.keep()  # the second time it sees that nothing has come
        away.hours(hours)
    away.world.publish(KEYS)


@pytest.mark.parametrize("announced", [False, True])
def test_what_was_forgotten_undelivered_is_read_from_the_archive(announced: bool) -> None:
    """Which the function is told, or the stream names."""
    away = Away(announced=announced)
    a_day_away(away, kept=True)
    assert away.mapping.step()
    assert not away.mapping.stuck()
    away.mapping.run()
    assert away.world.found() == away.world.counts


def test_what_nobody_has_is_still_not_passed_over() -> None:
    away = Away()
    a_day_away(away, kept=False)
    before = away.world.found()
    assert away.mapping.step()
    assert away.mapping.stuck()
    assert away.world.found() == before
    assert "the archive ends at offset" in str(away.world.told()[-1]["Error"])


def test_nothing_is_asked_of_the_archive_while_the_stream_has_everything() -> None:
    """But whether it is there: one small object."""
    away = Away()
    asked: list[str] = []
    get = away.objects.get

    def noting(key: str, *where: Any) -> bytes | None:
        asked.append(key)
        return get(key, *where)

    away.objects.get = noting  # type: ignore[method-assign, assignment]
    away.world.publish(KEYS)
    away.mapping.run()
    assert away.world.found() == away.world.counts
    assert set(asked) == {"archive.json"}
