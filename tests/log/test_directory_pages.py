"""Pages of a directory log are about as large as was asked for, whatever its commits are."""

from __future__ import annotations

from pathlib import Path

import pytest

from binlog.changes import put_item
from binlog.log import Position, Record
from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.producer import Producer

EVENTS = 3_000


@pytest.fixture
def log(tmp_path: Path) -> DirectoryLog:
    """One commit of many records."""
    create_directory_log(tmp_path / "log", Params(log_id="ab" * 16, partitions=64))
    log = DirectoryLog(tmp_path / "log")
    with Producer(log) as producer:
        producer.append_many([put_item("orders", {"id": f"{n}"}, key="id") for n in range(EVENTS)])
    return log


def pages(log: DirectoryLog, bytes_max: int) -> list[list[Record]]:
    [shard] = log.shards()
    place, found = Position(shard.id, -1), []
    while True:
        page = log.read(place, bytes_max=bytes_max)
        if page.records:
            assert page.next.sequence >= page.records[-1].sequence
            found.append(page.records)
        if page.caught_up:
            return found
        assert page.next.sequence > place.sequence
        place = page.next


@pytest.mark.parametrize("bytes_max", [1, 500, 2_000, 50_000, 1 << 22])
def test_a_page_is_at_most_twice_what_was_asked_for_or_one_record(
    log: DirectoryLog, bytes_max: int
) -> None:
    """A paced consumer would have all of a large commit at once; nothing is left out or doubled."""
    found = pages(log, bytes_max)
    for page in found:
        assert len(page) == 1 or sum(len(r.data) for r in page) <= 2 * bytes_max
    [whole] = pages(log, 1 << 30)
    assert [record for page in found for record in page] == whole
    sequences = [record.sequence for record in whole]
    assert sequences == sorted(set(sequences))
    assert (len(found) > 10) is (bytes_max < 2_001)
