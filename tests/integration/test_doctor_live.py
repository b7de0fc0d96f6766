"""`doctor` on the stand-ins: a healthy stream and its store are found so, nothing is called amiss."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.standins.server import Server
from tests.cli.running import append, binlog


@pytest.mark.parametrize("server", ["kinesis_local", "kinesalite"])
def test_a_log_and_its_store_are_healthy(
    request: pytest.FixtureRequest,
    server: str,
    stream_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """What a stand-in does not tell is a note or cannot be known, and no fault."""
    standin: Server = request.getfixturevalue(server)
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", standin.url)
    log, store = f"kinesis://{stream_name()}?reads=4", f"sqlite:{tmp_path}/replica.db"
    missing = binlog("doctor", log, "--json")
    assert missing.status == 1
    assert "no such stream" in missing.out
    assert binlog("init", log, "--partitions=2", "--shards=1").status == 0
    append(log, {"id": "a"}, {"id": "b"})
    assert binlog("replicate", log, store, "--once").status == 0
    ran = binlog("doctor", log, store, "--other-reads=1", "--json")
    assert ran.status == 0, ran.out + ran.err
    found = {each["check"]: each for each in json.loads(ran.out)["findings"]}
    assert found["store"]["what"] == "1 table, 2 events applied"
    assert "the stream forgets that place in 2" in found["retention"]["what"]
    assert found["clock"]["state"] == "ok"
    assert found["mode"]["what"] == "provisioned, 1 open shard for 2 partitions"
    assert found["permissions"]["what"] == "all 5 permissions of the role reader"
    assert found["reads"]["what"].startswith("4 + 1 of 5")


def test_a_store_in_dynamodb_is_healthy(
    kinesis_local: Server,
    ministack: Server,
    stream_name: Callable[[], str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    log, store = f"kinesis://{stream_name()}?reads=5", f"dynamodb://{stream_name()}"
    assert binlog("init", log, "--partitions=2", "--shards=1").status == 0
    append(log, {"id": "a"}, {"id": "b"})
    assert binlog("replicate", log, store, "--once").status == 0
    before = binlog("digest", store, "--json").out
    ran = binlog("doctor", log, store, "--json")
    assert ran.status == 0, ran.out + ran.err
    what = {each["check"]: each["what"] for each in json.loads(ran.out)["findings"]}
    assert what["tables"] == "2 tables with the store's own, 2 of them on demand"
    assert what["store"] == "1 table, 2 events applied"
    assert what["ttl"] == "no table has a TTL"
    assert binlog("digest", store, "--json").out == before
