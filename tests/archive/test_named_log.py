"""A stream that names its archive in its tags: found when something is forgotten, and not before."""

from __future__ import annotations

from contextlib import closing

import msgspec
import pytest

from binlog.archive import Archive
from binlog.archive.announcement import announce
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.named_log import NamedArchiveLog, with_named_archive
from binlog.errors import BinlogError, RefusedError, StorageError, TrimmedError
from binlog.log import Log, NamesArchive, Position, Put
from binlog.logs import MemoryLog
from binlog.logs.kinesis_tags import archive_of_tags, tags_of_archive
from binlog.objects.memory import MemoryObjects
from tests.archive.test_archive_notes import EVERY, Days, a_log, drained
from tests.log.kinesis_world import HOUR_MS
from tests.log.log_frames import PARAMS

URL = "s3://kept/orders?region=eu-west-1&endpoint=http://127.0.0.1:1"


class Named(Days):
    """Announced on the first day, by an event of each partition; what its readers open, and hear."""

    def __init__(self) -> None:
        super().__init__()
        self.opened: list[str] = []
        self.told: list[str] = []
        self.fails: BinlogError | None = None
        with closing(self.world.open()) as log:
            announce(log, URL)

    def reading(self, *, from_beginning: bool = True) -> Log:
        return with_named_archive(
            self.world.open(), self.kept, from_beginning=from_beginning, tell=self.told.append
        )

    def kept(self, url: str) -> ArchiveLog:
        self.opened.append(url)
        if self.fails is not None:
            raise self.fails
        return ArchiveLog(Archive.open(self.objects), fetches=0)

    def days(self, count: int) -> None:
        for _ in range(count):
            self.day(*EVERY)
        self.day(*EVERY, hours=0, keep=False)


@pytest.mark.parametrize("url", ["file:kept", URL, "s3://b/" + "é" * 500, "x" * 192, "x" * 193])
def test_an_address_goes_through_the_tags_of_a_stream(url: str) -> None:
    tags = tags_of_archive(url)
    assert all(len(value) <= 256 and value.isascii() for value in tags.values())
    assert archive_of_tags(tags) == url
    assert archive_of_tags(tags | tags_of_archive("file:b")) == "file:b"  # over a longer one
    assert archive_of_tags(tags | tags_of_archive("")) is None
    assert archive_of_tags({}) is None


@pytest.mark.parametrize("value", ["?", "w7", "/w=="])
def test_tags_that_hold_no_address_name_nothing(value: str) -> None:
    assert archive_of_tags({"binlog/archive-1": value}) is None


@pytest.mark.parametrize("from_beginning", [True, False])
def test_a_new_reader_of_a_stream_that_has_forgotten_its_beginning_finds_it(
    from_beginning: bool,
) -> None:
    days = Named()
    days.days(4)
    with pytest.raises(TrimmedError):
        drained(days.world.open())
    reader = drained(days.reading(from_beginning=from_beginning), page_bytes=1)
    assert reader.vector() == dict.fromkeys(EVERY, 6)
    assert days.opened == days.told == [URL]


def test_nothing_is_opened_while_the_stream_has_its_beginning() -> None:
    """Also where it is old, and keeps records for longer than the shortest retention."""
    days = Named()
    days.world.stream.retention_hours = 24 * 365
    days.days(4)
    log = days.reading()
    assert drained(log).vector() == dict.fromkeys(EVERY, 6)
    log.close()
    assert not days.opened


def test_a_split_stream_whose_first_shards_are_gone_is_read_from_the_first() -> None:
    days = Named()
    days.day(*EVERY)
    (shard,) = list(days.world.stream.shards)
    days.world.stream.split(shard, 1 << 127, days.world.clock.now_ms())
    days.days(4)
    reader = drained(days.reading())
    assert reader.vector() == dict.fromkeys(EVERY, 7)
    assert days.opened == [URL]


def test_a_consumer_that_was_behind_goes_on_in_it() -> None:
    days = Named()
    days.day(*EVERY)
    place = drained(days.world.open()).checkpoint(1).position
    days.days(3)
    log = days.reading(from_beginning=False)
    log.shards()
    assert not days.opened
    assert log.read(place).records
    assert days.opened == [URL]
    assert isinstance(log, NamedArchiveLog)
    assert log.has_archive()
    log.close()


def test_one_that_is_gone_is_told_with_what_to_do() -> None:
    days = Named()
    days.days(4)
    days.fails = RefusedError("there is no archive", URL, "make one")
    with pytest.raises(TrimmedError, match="cannot be read: there is no archive") as raised:
        drained(days.reading())
    assert "--announce" in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(TrimmedError, match=r"retention is over.*no archive"):
        days.reading().read(Position(next(iter(days.world.stream.shards)), 1))
    days.fails = StorageError("away", URL, "try again")
    with pytest.raises(StorageError, match="away"):  # it may be there in a minute
        drained(days.reading())


def test_another_logs_archive_is_not_believed() -> None:
    days = Named()
    days.days(4)
    days.objects = MemoryObjects("memory:other")
    other = MemoryLog(msgspec.structs.replace(PARAMS, log_id="0f" * 16))
    Archive.create(days.objects, other.params, other.genesis)
    with pytest.raises(TrimmedError, match="an archive of the log"):
        drained(days.reading())


def test_a_log_that_names_none_is_what_it_was() -> None:
    days = Days()
    with closing(days.world.open()) as log:
        assert with_named_archive(log, lambda _: pytest.fail("opened")) is log
        announce(log, URL)
        announce(log, "")
    with closing(days.world.open()) as log:
        assert isinstance(log, NamesArchive)
        assert log.archive_named is None
    plain = a_log()
    assert with_named_archive(plain, lambda _: pytest.fail("opened")) is plain


def test_the_tags_are_written_when_they_change() -> None:
    days = Named()
    calls = days.world.double.calls
    with closing(days.world.open()) as log:
        before = calls["add_tags_to_stream"]
        announce(log, URL)
        assert calls["add_tags_to_stream"] == before
        announce(log, "file:other")
        assert log.archive_named == "file:other"
        assert calls["add_tags_to_stream"] == before + 1


def test_appends_go_to_the_log() -> None:
    days = Named()
    log = days.reading()
    puts: list[Put] = []
    assert log.append(puts) == []
    assert log.now_ms() >= days.world.clock.now_ms()
    assert log.size_bytes() == 0
    assert log.stamp(Position("x", 1)) == b""
    days.world.clock.advance(HOUR_MS)
    log.close()
