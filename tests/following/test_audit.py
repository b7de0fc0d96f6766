"""The audit: a consumer that did not read what the log has is found, whatever it shows itself."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from appliers.stores import SQLiteStore
from binlog.address import open_log
from binlog.archive import Archive
from binlog.archive.archive_log import ArchiveLog
from binlog.archive.archiver import Archiving, archive
from binlog.errors import ConflictError, RefusedError
from binlog.log import Log, Page, Position, Put
from binlog.logs import DirectoryLog, create_directory_log
from binlog.objects.address import open_objects
from binlog.params import Params
from consumers import aws_audit
from consumers.audit import Audited
from consumers.auditing import audit_stores
from consumers.local import Following, replicate
from tests.check.replicas import append, flip, make_log, opened, put
from tests.cli.running import binlog
from tests.log.log_frames import frame

ONCE = Following(once=True)


class Skipping:
    """A log as a consumer with a fault reads it: some records are not there."""

    def __init__(self, log: DirectoryLog, skipped: Callable[[int, int], bool]) -> None:
        self._log = log
        self._skipped = skipped

    def __getattr__(self, name: str) -> Any:
        return getattr(self._log, name)

    def read(self, after: Position, **how: Any) -> Page:
        page = self._log.read(after, **how)
        kept = [r for r in page.records if not self._skipped(r.partition, r.sequence)]
        return Page(kept, page.next, page.caught_up, page.closed)


class Place:
    """A log, an archive of it, and as many stores as are asked for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = make_log(folder / "log")
        self.archive = f"file:{folder / 'kept'}"
        self.keep()

    def keep(self, *, segment_bytes: int = 300) -> None:
        how = Archiving(once=True, segment_bytes_max=segment_bytes, page_bytes=2_000)
        with opened(self.log) as log, closing(open_objects(self.archive)) as objects:
            archive(log, Archive.create(objects, log.params, log.genesis), how)

    def append(self, count: int = 12) -> None:
        with opened(self.log) as log:
            append(log, [put(f"late{n}", n) for n in range(count)])

    def replica(self, name: str, skipped: Callable[[int, int], bool] = lambda *_: False) -> str:
        with opened(self.log) as log, closing(SQLiteStore(self.folder / name)) as store:
            replicate(cast("Log", Skipping(log, skipped)), store, ONCE)
        return f"sqlite:{self.folder / name}"

    def records(self, partition: int) -> list[int]:
        with opened(self.log) as log:
            [shard] = log.shards()
            page = log.read(Position(shard.id, -1), partitions=frozenset({partition}))
            return [record.sequence for record in page.records]

    def audit(self, *stores: str, full: bool = False) -> Sequence[Audited]:
        return audit_stores(self.archive, stores, full=full)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def outcomes(found: Sequence[Audited]) -> dict[int, str]:
    return {each.partition: each.outcome for each in found}


@pytest.mark.parametrize("full", [False, True])
def test_a_consumer_that_read_everything_is_the_same(place: Place, full: bool) -> None:
    with closing(open_log(place.archive)) as log:
        assert isinstance(log, ArchiveLog)
        assert all(len(log.view(partition).outlines) > 2 for partition in range(3))
    store = place.replica("whole.db")
    assert outcomes(place.audit(store, full=full)) == dict.fromkeys(range(3), "same")


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(("partition", "which"), [(1, 1), (1, 2), (0, -1), (1, -1), (2, -1)])
def test_a_record_that_was_skipped_is_found(
    place: Place, partition: int, which: int, full: bool
) -> None:
    """The last one, too, of which only the place tells that it should be there."""
    skipped = place.records(partition)[which]
    store = place.replica("less.db", lambda _, sequence: sequence == skipped)
    found = place.audit(store, full=full)
    assert outcomes(found) == dict.fromkeys(range(3), "same") | {partition: "differs"}
    assert "offset" in found[partition].detail or "digest" in found[partition].detail
    assert found[partition].where.endswith(f"partition {partition}")


def test_a_record_skipped_before_the_nearest_segment_is_found(place: Place) -> None:
    """It is in no segment that is read, but in the digest that the nearest one ends with."""
    skipped = place.records(2)[1]
    store = place.replica("less.db", lambda _, sequence: sequence == skipped)
    assert outcomes(place.audit(store))[2] == "differs"


def test_what_is_not_archived_yet_is_told_apart_with_its_age(place: Place) -> None:
    place.append()
    store = place.replica("ahead.db")
    found = place.audit(store)
    ahead = [each for each in found if each.outcome == "unarchived"]
    assert ahead
    assert {each.outcome for each in found} <= {"unarchived", "same"}
    for each in ahead:
        assert each.archived is not None
        assert each.archived < each.offset
        assert each.age_s is not None
        assert 0 <= each.age_s < 3_600
    place.keep()
    assert set(outcomes(place.audit(store)).values()) == {"same"}


def test_an_archive_that_is_ahead_is_compared_where_the_consumer_stands(place: Place) -> None:
    store = place.replica("behind.db")
    place.append()
    place.keep()
    assert set(outcomes(place.audit(store)).values()) == {"same"}


def test_a_damaged_segment_is_told_and_the_others_are_compared(place: Place) -> None:
    store = place.replica("whole.db")
    segments = sorted((place.folder / "kept" / "chain" / "p0001").iterdir())
    flip(segments[1], 100)
    found = place.audit(store, full=True)
    assert outcomes(found) == {0: "same", 1: "unreadable", 2: "same"}
    assert segments[1].name in found[1].detail


def test_a_store_of_another_log_is_refused(place: Place, tmp_path: Path) -> None:
    create_directory_log(tmp_path / "other", Params(log_id="66" * 16, partitions=3))
    with closing(DirectoryLog(tmp_path / "other")) as log:
        append(log, [put("a", 1)])
        with closing(SQLiteStore(tmp_path / "other.db")) as store:
            replicate(log, store, ONCE)
    with pytest.raises(ConflictError):
        place.audit(f"sqlite:{tmp_path / 'other.db'}")
    with pytest.raises(RefusedError, match="no archive"):
        audit_stores(place.log, [place.replica("whole.db")])


# -- as a command, and as a function -----------------------------------------------------------------


def test_the_command_says_no_to_what_differs(place: Place) -> None:
    whole = place.replica("whole.db")
    done = binlog("audit", place.archive, whole, "--json")
    assert done.status == 0
    assert json.loads(done.out)["ok"]
    skipped = place.records(0)[1]
    less = place.replica("less.db", lambda _, sequence: sequence == skipped)
    done = binlog("audit", place.archive, whole, less, "--metrics", "shop")
    assert done.status == 1
    assert "5 of 6 checkpoints" in done.out
    lines = [json.loads(line) for line in done.err.splitlines() if line.startswith("{")]
    assert [line["Differing"] for line in lines] == [0, 1]
    assert [line["Audited"] for line in lines] == [3, 3]
    assert lines[1]["Store"] == less


def test_the_command_says_no_to_what_is_not_archived_for_too_long(place: Place) -> None:
    place.append()
    store = place.replica("ahead.db")
    assert binlog("audit", place.archive, store, "--max-age", "1h").status == 0
    done = binlog("audit", place.archive, store, "--max-age", "1ms")
    assert done.status == 1
    assert "not yet archived" in done.out


def test_the_function_tells_every_store_and_fails_only_where_it_cannot(place: Place) -> None:
    skipped = place.records(0)[1]
    less = place.replica("less.db", lambda _, sequence: sequence == skipped)
    environment = {
        "BINLOG_ARCHIVE": place.archive,
        "BINLOG_AUDIT": f"{place.replica('whole.db')}\n{less}\n",
        "BINLOG_LOG": "kinesis://orders",
        "AWS_REGION": "eu-west-1",
    }
    written: list[Any] = []
    settings = aws_audit.settings_of(environment)
    answer = aws_audit.run(settings, write=lambda line: written.append(json.loads(str(line))))
    assert not answer["ok"]
    assert answer["checkpoints"] == 6
    assert [line["Differing"] for line in written] == [0, 1]
    assert {line["Log"] for line in written} == {"kinesis://orders"}
    with pytest.raises(RefusedError, match="BINLOG_ARCHIVE"):
        aws_audit.settings_of({"BINLOG_AUDIT": less})
    with pytest.raises(RefusedError, match="BINLOG_AUDIT"):
        aws_audit.settings_of({**environment, "BINLOG_AUDITS": "x"})


def test_what_is_no_event_and_not_archived_yet_is_no_difference(tmp_path: Path) -> None:
    """A frame that came twice: the consumer's state knows of the second one, and the archive's not yet."""
    place = Place(tmp_path)
    with opened(place.log) as log:
        twice = frame(1, session=9, born_ms=log.now_ms(), params=log.params)
        log.append([Put(0, twice)])
    place.keep()
    time.sleep(0.002)  # the log's time is the machine's
    with opened(place.log) as log:
        log.append([Put(0, twice)])
    store = place.replica("late.db")
    [found] = [each for each in place.audit(store) if each.partition == 0]
    assert (found.outcome, found.offset, found.archived) == ("unarchived", 16, 16)
    assert found.age_s is not None
    place.keep()
    assert {each.outcome for each in place.audit(store)} == {"same"}
