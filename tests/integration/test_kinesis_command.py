"""The command with ``kinesis://`` in place of ``file:``: the same story, the same answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts.standins.server import Server
from tests.cli.running import Started, append, binlog
from tests.integration.waiting import PATIENCE_S

LINES = [{"id": f"user-{n % 7}", "n": n, "text": "é" * (n % 5)} for n in range(60)]


@pytest.fixture
def stream(
    kinesis_local: Server, monkeypatch: pytest.MonkeyPatch, stream_name: Callable[[], str]
) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    return f"kinesis://{stream_name()}?reads=100"


def answer(*args: str) -> dict[str, Any]:
    ran = binlog(*args, "--json")
    assert ran.status == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def story(log: str, folder: Path, *options: str) -> dict[str, Any]:
    """Init, append, and replicas in three ways; what does not depend on where the log is."""
    folder.mkdir()
    one, two = f"sqlite:{folder}/one.db", f"sqlite:{folder}/two.db"
    made = answer("init", log, "--partitions=8", *options)
    assert made["state"] == "created"
    assert answer("init", log, "--partitions=8", *options) == made | {"state": "exists"}
    acks = append(log, *LINES[:40]).lines
    assert [ack["line"] for ack in sorted(acks, key=lambda ack: ack["line"])] == [*range(1, 41)]
    replicated = answer("replicate", log, two, "--once")
    assert append(log, *LINES[40:], {"Action": "DeleteItem", "Key": {"id": "user-3"}}).status == 0
    assert answer("replicate", log, two, "--once")["events"] == 21
    rebuilt = answer("rebuild", log, one, "--workers=2")
    assert (replicated["events"], rebuilt["events"]) == (40, 61)
    assert answer("verify", one, two)["equal"]
    assert answer("verify", one, log)["equal"]
    assert answer("check", log, one)["ok"]
    assert binlog("halted", log).status == 0
    rows = answer("status", log, two)["partitions"]
    assert sum(row["offset"] for row in rows) == sum(row["applied"] for row in rows) == 61
    events = binlog("cat", log, "--json").lines
    half = {str(row["partition"]): row["offset"] // 2 for row in rows}
    return {
        "tables": rebuilt["tables"],
        "events": [[each[name] for name in ("partition", "offset", "data")] for each in events],
        "until": answer("rebuild", log, "memory:", "--until", json.dumps(half))["tables"],
        "dump": binlog("dump", one, "--table", "users").out,
    }


def test_the_story_is_the_same_on_a_stream_and_in_a_directory(stream: str, tmp_path: Path) -> None:
    """Offsets, vectors, digests, items: nothing tells where the log was kept."""
    there = story(
        stream, tmp_path / "there", "--shards=2", "--retention=7d", "--encrypt=alias/aws/kinesis"
    )
    here = story(f"file:{tmp_path}/log", tmp_path / "here")
    assert there == here


def test_append_acknowledges_while_its_input_is_open(stream: str, tmp_path: Path) -> None:
    answer("init", stream, "--partitions=2", "--shards=1")
    arguments = ["append", stream, "--table=users", "--key=id", "--json"]
    with Started(*arguments, cwd=tmp_path) as running:
        for number in range(1, 4):
            running.send(b'{"id": "a"}\n')
            assert running.receive()["number"] == number
        assert running.stdin is not None
        running.stdin.close()
        assert running.wait(PATIENCE_S) == 0


def test_cat_follows_a_stream(stream: str, tmp_path: Path) -> None:
    answer("init", stream, "--partitions=2", "--shards=1")
    with Started("cat", stream, "--follow", "--json", cwd=tmp_path) as following:
        for number in range(3):
            append(stream, {"id": "a", "n": number})
            assert following.receive()["data"]["n"] == number
        following.kill()


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["append", "LOG"], 2, "no such stream"),
        (["cat", "LOG"], 2, "no such stream"),
        (["init", "LOG", "--partitions=4"], 2, "--shards N or --on-demand"),
        (["init", "LOG"], 2, "give --partitions N"),
        (["init", "LOG", "--partitions=2", "--shards=3"], 2, "at most as many shards"),
        (["init", "LOG", "--partitions=2", "--shards=1", "--on-demand"], 2, "give one of them"),
        (["init", "LOG", "--partitions=2", "--shards=1", "--retention=90m"], 2, "whole hours"),
        (["init", "LOG", "--partitions=2", "--shards=1", "--retention=400d"], 2, "whole hours"),
        (["cat", "LOG&reads=0"], 2, "reads=0"),
        (["cat", "LOG&endpoint=http://127.0.0.1:1"], 3, "127.0.0.1:1"),
        (["cat", "LOG&profile=nobody"], 2, "nobody"),
        (["cat", "LOG&region=no where"], 2, "no where"),
    ],
)
def test_what_cannot_be_is_one_line_with_the_remedy(
    stream: str, arguments: list[str], status: int, says: str
) -> None:
    ran = binlog(*[argument.replace("LOG", stream) for argument in arguments])
    assert ran.status == status, ran.err
    assert says in ran.err


def test_init_refuses_other_parameters_and_a_directory_refuses_a_streams(
    stream: str, tmp_path: Path
) -> None:
    answer("init", stream, "--partitions=2", "--shards=1")
    ran = binlog("init", stream, "--partitions=3")
    assert ran.status == 2
    assert "partitions: found 2, expected 3" in ran.err
    for option in ("--shards=1", "--on-demand", "--retention=2d", "--encrypt=k"):
        ran = binlog("init", f"file:{tmp_path}/log", option)
        assert ran.status == 2
        assert option.partition("=")[0] in ran.err
    assert not (tmp_path / "log").exists()
