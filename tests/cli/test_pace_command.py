"""``binlog pace``: what is set, shown, refused and taken out again."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

import pytest

import consumers.pacer
from appliers.address import open_store
from binlog.cli.options import length_text
from binlog.errors import RefusedError
from consumers.pace import Setting
from consumers.pacer import read_setting
from tests.cli.running import append, binlog


@pytest.fixture
def log(tmp_path: Path) -> str:
    address = f"file:{tmp_path / 'log'}"
    assert binlog("init", address, "--partitions", "2").status == 0
    append(address, *({"id": f"u{n}"} for n in range(10)))
    return address


@pytest.fixture
def store(tmp_path: Path, log: str) -> str:
    address = f"sqlite:{tmp_path / 'replica.db'}"
    assert binlog("replicate", log, address, "--once").status == 0
    return address


def pace(store: str, *args: str) -> Any:
    ran = binlog("pace", store, *args, "--json")
    assert ran.status == 0, ran.err
    [found] = ran.lines
    assert set(found) == {"pace"}
    return found["pace"]


def test_what_is_set_is_printed_and_stays(store: str) -> None:
    """Whole: what is not given is not set any more."""
    assert pace(store) is None
    one = {"rate": "500.0", "rate_of": "items", "max_behind_seconds": None}
    assert pace(store, "--rate", "500") == one == pace(store)
    other = {"rate": None, "rate_of": "items", "max_behind_seconds": "43200.0"}
    assert pace(store, "--max-behind", "12h") == other == pace(store)
    assert read_setting(open_store(store), "here") == Setting(max_behind_s=43_200.0)
    assert pace(store, "--clear") is None
    assert pace(store) is None


def test_says_it_in_words(store: str) -> None:
    assert "nothing is set" in binlog("pace", store).out
    said = binlog("pace", store, "--rate", "2500", "--rate-of", "events", "--max-behind", "90m").out
    assert said == "at most 2,500 events a second, as slow as can be without being 90m behind\n"


def test_a_consumer_goes_by_it(log: str, store: str) -> None:
    """At a pace that lets nothing through a run to the log's end would not end; a distance is not
    kept by who is told to go there.
    """
    append(log, *({"id": f"v{n}"} for n in range(10)))
    pace(store, "--max-behind", "12h")
    ran = binlog("replicate", log, store, "--once", "--json")
    assert ran.lines[0]["events"] == 10


def test_more_than_half_of_what_the_log_keeps_is_refused(
    log: str, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log is named; nothing is set then."""
    monkeypatch.setattr(consumers.pacer, "retention_of", lambda _: 86_400.0)
    ran = binlog("pace", store, "--max-behind", "13h", "--log", log)
    assert ran.status == 2
    assert "at most 12 hours" in ran.err
    assert pace(store) is None
    assert pace(store, "--max-behind", "12h", "--log", log) is not None


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--clear", "--rate", "5"], "--clear"),
        (["--rate", "0"], "--rate"),
        (["--rate", "nan"], "--rate"),
        (["--max-behind", "0h"], "max-behind"),
        (["--max-behind", "soon"], "no length of time"),
    ],
)
def test_refuses_what_is_no_pace(store: str, args: list[str], says: str) -> None:
    ran = binlog("pace", store, *args)
    assert (ran.status, ran.out) == (2, "")
    assert says in ran.err
    assert pace(store) is None


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    ran = binlog("pace", f"sqlite:{tmp_path / 'no.db'}", "--rate", "5")
    assert ran.status == 2
    assert "there is no store" in ran.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(43_200.0, "12h"), (172_800.0, "2d"), (5_400.0, "90m"), (90.0, "90s"), (0.25, "250ms")],
)
def test_a_length_of_time_is_written_as_it_is_given(seconds: float, text: str) -> None:
    assert length_text(seconds) == text


@pytest.mark.parametrize(
    ("log", "options", "opened"),
    [
        ("kinesis://s", [], "kinesis://s"),
        ("kinesis://s", ["--rate", "5"], "kinesis://s?reads=2.5"),
        (
            "kinesis://s?region=eu-west-1",
            ["--max-behind", "1h"],
            "kinesis://s?region=eu-west-1&reads=2.5",
        ),
        ("kinesis://s?reads=4", ["--max-behind", "1h"], "kinesis://s?reads=4"),
        ("file:log", ["--rate", "5"], "file:log"),
    ],
)
def test_who_is_behind_on_purpose_leaves_half_of_a_streams_reads_to_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, log: str, options: list[str], opened: str
) -> None:
    """A replica that catches up takes none from those who apply at once; an address may say else."""
    asked: list[str] = []

    def open_none(url: str, *_: object) -> NoReturn:
        asked.append(url)
        raise RefusedError("enough seen")

    monkeypatch.setattr("binlog.cli.announced.open_with_archive", open_none)
    assert binlog("replicate", log, f"sqlite:{tmp_path / 'a.db'}", *options).status == 2
    assert asked == [opened]
