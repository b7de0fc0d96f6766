"""``binlog archive``: what it prints, how it ends, and what it costs."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from binlog.address import open_log
from binlog.archive import Archive
from binlog.archive.announcement import announce, announce_frame, announced
from binlog.archive.archiver import ANNOUNCE_EVERY_S, Archiving, archive
from binlog.archive.price import EVENT_BYTES, MONTH_S, choice, choices
from binlog.clock import ManualClock
from binlog.columns import columns_of
from binlog.control import PARAMS_TYPE
from binlog.envelope import Envelope
from binlog.errors import RefusedError, StorageError
from binlog.logs.chaos import Fate
from binlog.logs.memory import MemoryLog
from binlog.objects import open_objects
from binlog.objects.memory import MemoryObjects
from binlog.reader import Reader
from binlog.sequencer import Sequencer
from binlog.values import encode_value
from tests.archive.archive_world import UnhurriedLog
from tests.archive.test_archiver import stop_after
from tests.cli.halting import HaltingLog
from tests.cli.running import Started, append, binlog
from tests.log.kinesis_world import KinesisWorld
from tests.log.log_frames import PARAMS


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    binlog("init", address, "--partitions", "4")
    append(address, *({"id": f"u{n}", "n": n} for n in range(20)))
    return address


def test_archives_once_and_prints_what_it_did(log: str, tmp_path: Path) -> None:
    """A table for people, one document for scripts; a second run has nothing to do."""
    into = f"file:{tmp_path / 'archive'}"
    ran = binlog("archive", log, into, "--once")
    assert (ran.status, ran.err) == (0, "")
    assert ran.out.splitlines()[0].split() == [
        *("partition", "offset", "segments", "records", "events", "bytes")
    ]
    assert "20 events in 4 segments of 4 partitions" in ran.out
    [document] = binlog("archive", log, into, "--once", "--json").lines
    assert document["segments"] == document["events"] == 0
    assert sum(document["vector"].values()) == 20
    append(log, {"id": "new", "n": 1})
    [document] = binlog("archive", log, into, "--once", "--json").lines
    assert document["archive"] == into
    assert (document["segments"], document["events"], document["halted"]) == (1, 1, [])
    [partition] = document["partitions"]
    assert partition["offset"] == document["vector"][str(partition["partition"])]
    assert document["bytes"] == partition["bytes"] > 0
    assert sum(document["vector"].values()) == 21


def test_what_is_archived_is_the_log(log: str, tmp_path: Path) -> None:
    """Event by event, as `cat` prints them."""
    into = f"file:{tmp_path / 'archive'}"
    binlog("archive", log, into, "--once")
    assert binlog("cat", into, "--json").lines == binlog("cat", log, "--json").lines


def test_follows_until_it_is_told_to_end(log: str, tmp_path: Path) -> None:
    """SIGTERM ends it cleanly: what was read is archived, and the report is printed."""
    into = f"file:{tmp_path / 'archive'}"
    with Started("archive", log, into, "--json", "--segment-every", "1h", cwd=tmp_path) as process:
        while not (tmp_path / "archive" / "archive.json").exists():
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=200)
    assert (process.returncode, err) == (0, b"")
    assert sum(json.loads(out)["vector"].values()) in (0, 20)
    [document] = binlog("archive", log, into, "--once", "--json").lines
    assert sum(document["vector"].values()) == 20


def test_a_halted_partition_is_told_and_ends_with_a_failure(tmp_path: Path) -> None:
    """With the commands that decide; what lies before it is archived."""
    halting = HaltingLog(tmp_path / "log")
    halting.send([1, 2])
    halting.write_rubbish()
    into = f"file:{tmp_path / 'archive'}"
    ran = binlog("archive", halting.address, into, "--once")
    assert ran.status == 3
    assert f"binlog halted {halting.address}" in ran.err
    kept = Archive.open(open_objects(into))
    end = kept.chain(0).end()
    assert end is not None
    with_state = Sequencer(kept.params, kept.genesis, 0, end.end.state)
    assert with_state.offset == end.last


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["LOG", "LOG", "--once"], "other things are kept there"),
        (["LOG", "sqlite:x", "--once"], "no place for objects"),
        (["LOG", "INTO", "--rate", "5"], "--rate is for --dry-run"),
        (["LOG", "INTO", "--segment-every", "soon"], "no length of time"),
        (["LOG", "INTO", "--segment-every", "0s", "--dry-run"], "--segment-every is above 0"),
        (["LOG", "INTO", "--segment-bytes", "5"], "--segment-bytes"),
        (["INTO", "OTHER", "--once"], "no log"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(
    log: str, tmp_path: Path, arguments: list[str], what: str
) -> None:
    """Exit status 2, in one line."""
    names = {"LOG": log, "INTO": f"file:{tmp_path / 'a'}", "OTHER": f"file:{tmp_path / 'b'}"}
    ran = binlog("archive", *[names.get(each, each) for each in arguments])
    assert ran.status == 2
    assert what in ran.err
    assert not (tmp_path / "a").exists()
    assert not (tmp_path / "b").exists()


def test_an_archive_of_another_log_is_refused(log: str, tmp_path: Path) -> None:
    """Its segments stay as they were."""
    into = f"file:{tmp_path / 'archive'}"
    binlog("archive", log, into, "--once")
    before = {p: p.read_bytes() for p in (tmp_path / "archive").rglob("*") if p.is_file()}
    other = f"file:{tmp_path / 'other'}"
    binlog("init", other, "--partitions", "4")
    ran = binlog("archive", other, into, "--once")
    assert ran.status == 2
    assert "give each log an archive of its own" in ran.err
    assert before == {p: p.read_bytes() for p in (tmp_path / "archive").rglob("*") if p.is_file()}


# -- the price -------------------------------------------------------------------------------------


def test_a_dry_run_prints_what_several_T_cost_and_writes_nothing(log: str, tmp_path: Path) -> None:
    """So that nobody learns it from a bill."""
    ran = binlog("archive", log, "s3://kept/orders", "--dry-run", "--rate", "100", "--json")
    [document] = [json.loads(ran.out)]
    assert document["state"] == "reckoned"
    assert document["segment_every_s"] == 60
    found = {each["segment_every_s"]: each for each in document["choices"]}
    assert sorted(found) == [10, 60, 300, 900, 3600]
    assert found[10]["put_dollars"] > found[60]["put_dollars"] > found[3600]["put_dollars"]
    into = f"file:{tmp_path / 'archive'}"
    ran = binlog("archive", log, into, "--dry-run", "--segment-every", "2m")
    assert "<- --segment-every" in next(line for line in ran.out.splitlines() if "2m" in line)
    assert not (tmp_path / "archive").exists()


def test_the_price_counts_what_is_written() -> None:
    """A busy partition one object each T, and sixteen of them a note; a quiet one a note now and then."""
    busy = choice(60, partitions=64, rate=None, paid=True)
    segments = 64 * MONTH_S / 60
    assert segments * (1 + 1 / 16) < busy.puts_month < segments * (1.02 + 1 / 16)
    assert busy.put_dollars == pytest.approx(busy.puts_month * 0.005 / 1000, rel=1e-3)
    rare = choice(60, partitions=64, rate=1 / 3600, paid=True)
    assert rare.objects_month < 750  # no more than the events of a month
    full = choice(60, partitions=64, rate=10_000, paid=True)
    assert full.objects_month == pytest.approx(busy.objects_month, rel=1e-3)
    assert full.bytes_month > 10_000 * MONTH_S * EVENT_BYTES
    free = choice(60, partitions=64, rate=None, paid=False)
    assert (free.put_dollars, free.kept_dollars, free.puts_month) == (0, 0, busy.puts_month)
    assert [each.segment_every_s for each in choices(7, partitions=1, rate=1, paid=True)] == [
        *(7, 10, 60, 300, 900, 3600)
    ]


# -- the announcement --------------------------------------------------------------------------------


def names_in(log: MemoryLog) -> dict[int, str]:
    """What each partition of a log names."""
    found: dict[int, str] = {}
    reader = Reader(log)
    while (runs := reader.read()) is not None:
        for run in runs:
            url = announced(run.columns)
            if url is not None:
                found[run.partition] = url
    return found


def test_an_archive_is_announced_in_every_partition() -> None:
    """By records that change nothing else, and that take their offsets as all do."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    assert announce(log, "s3://kept/orders") == 4
    assert names_in(log) == dict.fromkeys(range(4), "s3://kept/orders")
    announce(log, "s3://elsewhere/orders")
    assert names_in(log) == dict.fromkeys(range(4), "s3://elsewhere/orders")
    for partition in range(4):
        sequencer = Sequencer(log.params, log.genesis, partition)
        for shard, record in log.records(partition):
            sequencer.feed(shard, record)
        assert sequencer.offset == 2
        assert sequencer.params == log.params


def test_the_command_announces(log: str, tmp_path: Path) -> None:
    """And the records that say so are archived with the others."""
    into = f"file:{tmp_path / 'archive'}"
    [document] = binlog("archive", log, into, "--once", "--announce", "--json").lines
    assert document["announced"] == 4
    assert sum(document["vector"].values()) == 24
    opened = open_log(into)
    assert names_in(opened) == dict.fromkeys(range(4), into)  # type: ignore[arg-type]
    opened.close()


def test_what_is_announced_is_found_from_everywhere(
    log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that is given from here is another one, or none, for whoever reads elsewhere."""
    monkeypatch.chdir(tmp_path)
    assert binlog("archive", log, "file:here", "--once", "--announce").status == 0
    opened = open_log("file:here")
    assert set(names_in(opened).values()) == {f"file:{tmp_path / 'here'}"}  # type: ignore[arg-type]
    opened.close()


def test_an_archiver_announces_again_before_the_stream_forgets() -> None:
    """A reader that comes a week later finds it, too."""
    clock = ManualClock()
    log = UnhurriedLog(PARAMS, clock)
    into = Archive.create(MemoryObjects(), log.params, log.genesis)
    how = Archiving(announced="s3://kept/orders", segment_every_s=10)
    report = archive(log, into, how, clock=clock, stop=stop_after(100))
    assert report.announced == 4  # a log that forgets nothing is told once
    kinesis = KinesisWorld()
    stream = kinesis.open()
    into = Archive.create(MemoryObjects(), stream.params, stream.genesis)
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        kinesis.clock.advance(int(ANNOUNCE_EVERY_S * 1000 / 10))
        return asked > 25

    report = archive(stream, into, how, clock=kinesis.clock, stop=stop)
    assert report.announced == 4 * 3


def test_an_announcement_that_is_not_known_to_be_written_is_told() -> None:
    """Twice does no harm."""
    log = MemoryLog(PARAMS, clock=ManualClock())
    log.script(Fate.LOSE_REPLY)
    with pytest.raises(StorageError, match="announce it again"):
        announce(log, "s3://kept/orders")
    announce(log, "s3://kept/orders")
    assert names_in(log) == dict.fromkeys(range(4), "s3://kept/orders")


@pytest.mark.parametrize(
    "data",
    [
        None,
        encode_value({"id_window": 5}),
        encode_value({"archive": 5}),
        encode_value([1]),
        b"\xc1",
    ],
)
def test_what_is_no_announcement_names_nothing(data: bytes | None) -> None:
    """Anybody may write a record of that type."""
    key = encode_value({})
    other = Envelope("e", PARAMS_TYPE, 1, "", key, data, time_ms=1)
    assert announced(columns_of([other])) is None
    with pytest.raises(RefusedError, match="limit"):
        announce_frame(PARAMS, b"", 0, "s3://" + "x" * 2_000, family=bytes(16), now_ms=1)
