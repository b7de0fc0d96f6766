"""``binlog status LOG STORE``: lag, runway and pace, for people and as JSON."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import binlog.cli.status as binlog_status
from binlog.cli.lag import duration_text
from consumers.lag import Lag, measure
from tests.cli.running import append, binlog


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "4").status == 0
    append(address, *({"id": f"u{n % 20}", "n": n} for n in range(60)))
    return address


@pytest.fixture
def store(tmp_path: Path, log: str) -> str:
    address = f"sqlite:{tmp_path / 'replica.db'}"
    assert binlog("rebuild", log, address).status == 0
    append(log, *({"id": f"u{n}", "n": 1} for n in range(15)))
    return address


def test_the_document_has_sums_and_every_consumer(log: str, store: str) -> None:
    """Beside what was there before: scripts rely on that."""
    binlog("pace", store, "--rate", "50")
    [found] = binlog("status", log, store, "--json").lines
    assert found["sum"]["lag_events"] == 15
    assert found["sum"]["lag_bytes"] == sum(p["lag_bytes"] for p in found["partitions"]) > 0
    assert found["sum"]["eta_seconds"] is found["sum"]["runway_seconds"] is None
    assert (found["runway"], found["retention_seconds"]) == ("unknown", None)
    assert found["pace"]["rate"] == "50.0"
    [consumer] = found["consumers"]
    assert (consumer["tables"], consumer["open"], consumer["lag_events"]) == (["users"], True, 15)
    assert [p["partition"] for p in consumer["partitions"]] == [0, 1, 2, 3]
    assert [p["lag_events"] for p in consumer["partitions"]] == [
        p["lag_events"] for p in found["partitions"]
    ]


def test_people_read_a_line_a_consumer(log: str, store: str) -> None:
    out = binlog("status", log, store).out
    assert "users: 15 events behind, " in out
    assert "when it has all is not known (--over 30s measures it)" in out
    assert "runway" not in out
    ran = binlog("status", log, store, "--over", "50ms")
    assert "does not catch up" in ran.out
    header, *rows = ran.out.split("\n\n", maxsplit=1)[0].splitlines()
    assert header.split()[3:9] == ["behind", "bytes", "for", "has", "all", "in"]
    assert [row.split()[-1] for row in rows] == ["ok"] * 4
    assert all("never" in row and " B " in row for row in rows)
    binlog("replicate", log, store, "--once")
    assert "events behind" not in binlog("status", log, store).out


@pytest.mark.parametrize(
    ("hours", "status", "says"),
    [(11, 0, ""), (13, 0, "raise what binlog pace"), (19, 1, "have the log keep more")],
)
def test_a_short_runway_is_told_and_one_that_is_nearly_over_is_a_no(
    log: str, store: str, monkeypatch: pytest.MonkeyPatch, hours: int, status: int, says: str
) -> None:
    """Half of the retention: somebody should know. A quarter: an alarm."""

    def so_far_behind(*args: Any, **options: Any) -> Lag:
        found = measure(*args, **options)
        [consumer] = found.consumers
        left_s = (24 - hours) * 3_600.0
        worst = replace(consumer, lag_seconds=hours * 3_600.0, runway_seconds=left_s)
        partitions = [replace(p, runway_seconds=left_s) for p in found.partitions]
        return replace(found, partitions=partitions, consumers=[worst], retention_s=86_400.0)

    monkeypatch.setattr(binlog_status, "measure", so_far_behind)
    ran = binlog("status", log, store)
    assert ran.status == status
    assert says in ran.err
    assert (f"{24 - hours}.0 h left before the log forgets" in ran.err) is bool(says)
    header, first = (line.split() for line in ran.out.splitlines()[:2])
    assert header[:7] == ["partition", "offset", "applied", "behind", "bytes", "for", "runway"]
    assert f"{24 - hours}.0 h" in " ".join(first)
    ran = binlog("status", log, store, "--json")
    [found] = ran.lines
    assert ran.status == status
    assert float(found["sum"]["runway_seconds"]) == (24 - hours) * 3_600
    assert found["runway"] == {11: "ample", 13: "short", 19: "lifted"}[hours]


def test_two_looks_need_a_store(log: str) -> None:
    ran = binlog("status", log, "--over", "1s")
    assert ran.status == 2
    assert "name one" in ran.err


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "-"), (0.5, "0.5 s"), (59, "59 s"), (600, "10 min"), (9_000, "2.5 h"), (345_600, "4.0 d")],
)
def test_a_length_of_time_is_as_exact_as_one_needs_it(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
