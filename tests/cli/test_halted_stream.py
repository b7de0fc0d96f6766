"""`halted` and `resolve` on a stream that has forgotten its beginning, as every stream has some day."""

from __future__ import annotations

from typing import Any

import pytest

from binlog import address
from binlog.partition import explicit_hash_key, partition_key
from tests.archive.test_named_log import URL, Named
from tests.cli.running import binlog
from tests.log.log_frames import PARAMS

HALTED = 2


@pytest.fixture
def days(monkeypatch: pytest.MonkeyPatch) -> Named:
    """Four days, kept in an archive; then a record that is no frame, under a partition's own key."""
    days = Named()
    days.days(4)
    record = {
        "PartitionKey": partition_key(HALTED),
        "ExplicitHashKey": str(explicit_hash_key(HALTED, PARAMS.partitions)),
        "Data": b"a sample",
    }
    days.world.stream.land(record, days.world.clock.now_ms())
    monkeypatch.setattr(address, "_open_alone", lambda *_: days.world.open())
    monkeypatch.setattr(address, "_open_archive", lambda url, _: days.kept(url))
    return days


def halts(*options: str) -> list[dict[str, Any]]:
    ran = binlog("halted", "kinesis://s", *options, "--json")
    [found] = ran.lines
    assert ran.status == (1 if found["halts"] else 0)
    return list(found["halts"])


@pytest.mark.parametrize("options", [[], ["--archive", URL]])
def test_a_halt_is_named_and_decided(days: Named, options: list[str]) -> None:
    """By the archive that the log names, or by one that is given."""
    [halt] = halts(*options)
    assert (halt["partition"], halt["rule"]) == (HALTED, "undecodable")
    place = (str(HALTED), halt["position"])
    ran = binlog("resolve", "kinesis://s", *place, "skip", *options, "--json")
    assert (ran.status, ran.lines[0]["decision"]) == (0, "skip")
    assert not halts(*options)
    assert set(days.opened) == {URL}


@pytest.mark.parametrize("verb", [["halted"], ["resolve", "2", "s:1", "skip"]])
def test_without_its_archive_it_says_that_the_beginning_is_gone(
    monkeypatch: pytest.MonkeyPatch, days: Named, verb: list[str]
) -> None:
    monkeypatch.setattr(address, "_with_named", lambda log, *_: log)
    ran = binlog(verb[0], "kinesis://s", *verb[1:])
    assert ran.status == 3
    assert "does not begin with its genesis" in ran.err
    assert not days.opened
