"""A relay on a stream that has forgotten its beginning: what it did, and what waits, is archived."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from binlog import address
from binlog.errors import TrimmedError
from binlog.foreign import relay_id
from binlog.log import Log
from binlog.logs import MemoryLog
from binlog.relay import ForeignInbox, Relay, make_convert
from binlog.relay.opening import open_inbox
from tests.archive.test_named_log import URL, Named
from tests.cli.running import binlog
from tests.log.log_frames import PARAMS
from tests.relay.foreign_world import all_foreign, items
from tests.relay.test_relay_crashes import accepted, pause_of

OPENED: list[Callable[[Named], Log]] = [
    lambda days: days.both(),
    lambda days: days.both(archive_first=False),
    lambda days: days.reading(),
]


def relay(days: Named, log: Log) -> int:
    made = Relay(
        ForeignInbox(log),
        log,
        make_convert(table="users", key_names=("id",)),
        monotonic=days.world.clock.monotonic,
        pause=pause_of(days.world.clock),
    )
    return made.run(once=True).events


def put(days: Named, *numbers: int) -> list[str]:
    """Foreign records, and the ids that their events are to have."""
    before = {record.place for _, record in all_foreign(days.world.open())}
    for number, data in zip(numbers, items(numbers), strict=True):
        days.world.foreign(f"k{number}", data)
    found = [record.place for _, record in all_foreign(days.world.open())]
    return [relay_id(place) for place in found if place not in before]


@pytest.mark.parametrize("opened", OPENED)
def test_it_goes_on_when_the_stream_has_forgotten_what_it_did(
    opened: Callable[[Named], Log],
) -> None:
    """Without its own frames it would have to send everything again."""
    days = Named()
    wanted = put(days, 1, 2)
    assert relay(days, days.world.open()) == 2
    days.days(4)
    wanted += put(days, 3)
    with pytest.raises(TrimmedError):
        relay(days, days.world.open())
    assert relay(days, opened(days)) == 1
    assert accepted(opened(days)) == Counter(wanted)
    assert relay(days, opened(days)) == 0


@pytest.mark.parametrize("opened", OPENED)
def test_what_nobody_relayed_in_time_is_relayed_from_the_archive(
    opened: Callable[[Named], Log],
) -> None:
    """It is in no replica but as a foreign record, and must not be passed by in silence."""
    days = Named()
    wanted = put(days, 1)
    assert relay(days, days.world.open()) == 1
    wanted += put(days, 2, 3)
    days.days(4)
    wanted += put(days, 4)
    assert relay(days, opened(days)) == 3
    assert accepted(opened(days)) == Counter(wanted)


def test_another_log_is_relayed_with_what_its_stream_has_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the archive that it names: a copy that begins in the middle is none."""
    days = Named()
    days.days(4)
    monkeypatch.setattr(address, "_open_alone", lambda *_: days.world.open())
    monkeypatch.setattr(address, "_open_archive", lambda url, _: days.kept(url))
    log = MemoryLog(msgspec.structs.replace(PARAMS, log_id="2e" * 16), clock=days.world.clock)
    made = Relay(
        open_inbox("kinesis://s", log),
        log,
        make_convert(),
        monotonic=days.world.clock.monotonic,
        pause=pause_of(days.world.clock),
    )
    assert made.run(once=True).events == 5 * PARAMS.partitions
    assert days.opened == [URL]


def test_the_command_takes_the_archive_of_its_log(tmp_path: Path) -> None:
    """And no other's."""
    old, new, kept = (f"file:{tmp_path / name}" for name in ("old", "new", "kept"))
    for log in (old, new):
        assert binlog("init", log, "--partitions", "2").status == 0
    assert binlog("append", old, "--table", "users", "--key", "id", given='{"id": "a"}').status == 0
    assert binlog("archive", new, kept, "--once").status == 0
    assert binlog("relay", new, old, "--archive", kept).status == 2
    ran = binlog("relay", old, new, "--archive", kept, "--json")
    assert (ran.status, ran.lines[0]["events"]) == (0, 1)
