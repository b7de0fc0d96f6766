"""The archive that a log names itself is used by whoever has a checkpoint behind its record."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from appliers.stores import MemoryStore
from binlog import address
from binlog.archive import Archive
from binlog.archive.announcement import announce
from binlog.archive.archived_log import ArchivedLog
from binlog.archive.archiver import Archiving, archive
from binlog.archive.named_log import NamedArchiveLog
from binlog.cli.announced import announced_in, open_with_archive
from binlog.errors import TrimmedError
from binlog.log import Log
from binlog.logs import MemoryLog
from binlog.objects.address import open_objects
from binlog.reader import Reader, Start
from consumers.local import Following, replicate
from tests.log.log_frames import PARAMS

ONCE = Following(once=True)


class Open(MemoryLog):
    """It stays open: what opens it again finds the same. Beside its records it names none."""

    archive_named: str | None = None

    def may_have_forgotten(self) -> bool:
        return False

    def name_archive(self, url: str) -> None:
        """It cannot."""

    def close(self) -> None:
        pass


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> MemoryLog:
    made = Open(PARAMS)

    def opened(url: str, _: object) -> Log:
        return made if url.startswith("kinesis:") else whole(url, None)

    whole = address._open_alone
    monkeypatch.setattr(address, "_open_alone", opened)
    return made


def carried(log: Log, store: MemoryStore) -> MemoryStore:
    replicate(log, store, ONCE)
    return store


def test_it_is_in_the_state_of_every_checkpoint_behind_it(log: MemoryLog) -> None:
    """The last one that was named; an empty address takes it back; a reader goes on with it."""
    store = MemoryStore()
    assert announced_in(carried(log, store)) is None
    announce(log, "s3://one/kept")
    announce(log, "s3://two/kept")
    assert announced_in(carried(log, store)) == "s3://two/kept"
    reader = Reader(log)
    while reader.read() is not None:
        pass
    place = reader.checkpoint(2)
    again = Reader(log, starts={2: Start(place.position, place.state, place.applied)})
    assert again.checkpoint(2).state == place.state
    announce(log, "")
    assert not announced_in(carried(log, store))


def test_it_is_opened_beside_the_stream_unless_another_is_given(
    log: MemoryLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"file:{tmp_path / 'kept'}"
    announce(log, url)
    store = carried(log, MemoryStore())
    found = open_with_archive("kinesis://s", None, lambda: store)
    assert isinstance(found, NamedArchiveLog)
    with pytest.raises(TrimmedError, match="cannot be read"):  # it is not there
        found.has_archive()
    with closing(open_objects(url)) as objects:
        archive(log, Archive.create(objects, PARAMS, log.genesis), Archiving(once=True))
    found = open_with_archive("kinesis://s", None, lambda: store)
    assert not capsys.readouterr().err
    assert isinstance(found, NamedArchiveLog)
    assert found.has_archive()
    assert url in capsys.readouterr().err
    assert isinstance(open_with_archive("kinesis://s", url, lambda: store), ArchivedLog)
    assert "names" not in capsys.readouterr().err
    assert open_with_archive("kinesis://s", None) is log
