"""A stream's records into a bucket: two archivers in a race, a split, a kill, and a replica from it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from binlog.aws.account import Account, connector
from binlog.logs.kinesis import kinesis_service
from scripts.standins.server import Server
from tests.cli.running import Started, append, binlog
from tests.integration.kinesis_streams import split


@pytest.fixture
def places(
    kinesis_local: Server,
    ministack: Server,
    monkeypatch: pytest.MonkeyPatch,
    stream_name: Callable[[], str],
) -> tuple[str, str, str]:
    """The name of a stream, its address, and that of an archive."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    bucket, name = f"archives-{os.getpid()}", stream_name()
    client = connector(Account(endpoint=ministack.url), "s3", "s3://")()
    client.create_bucket(Bucket=bucket)
    client.close()
    return (
        name,
        f"kinesis://{name}?reads=100",
        f"s3://{bucket}/{name}?endpoint={ministack.url}",
    )


def answer(*args: str) -> dict[str, Any]:
    ran = binlog(*args, "--json")
    assert ran.status == 0, ran.err
    document: dict[str, Any] = json.loads(ran.out)
    return document


def test_a_stream_is_archived_by_several_at_once_and_read_from_the_bucket(
    places: tuple[str, str, str], tmp_path: Path
) -> None:
    """One is killed, the other ended; the next goes on; and the archive alone makes the replica."""
    name, log, into = places
    assert answer("init", log, "--partitions=8", "--shards=2")["state"] == "created"
    append(log, *({"id": f"u{n % 9}", "n": n} for n in range(60)))
    follow = ("archive", log, into, "--json", "--segment-every", "300ms")
    with (
        Started(*follow, cwd=tmp_path) as killed,
        Started(*follow, cwd=tmp_path) as ended,
    ):
        service = kinesis_service(name)
        split(service, 0)
        append(log, *({"id": f"u{n % 9}", "n": n} for n in range(60, 120)))
        killed.kill()
        append(log, *({"id": f"u{n % 9}", "n": n} for n in range(120, 160)))
        ended.send_signal(signal.SIGTERM)
        out, err = ended.communicate(timeout=30)
    if ended.returncode == 0:  # it may not have begun yet
        assert json.loads(out)["archive"] == into
    else:
        assert ended.returncode == -signal.SIGTERM, err
    report = answer("archive", log, into, "--once")
    assert sum(report["vector"].values()) == 160
    assert answer("archive", log, into, "--once")["segments"] == 0
    live, kept = f"sqlite:{tmp_path}/live.db", f"sqlite:{tmp_path}/kept.db"
    tables = answer("rebuild", log, live)["tables"]
    assert answer("rebuild", into, kept)["tables"] == tables
    assert answer("verify", live, kept)["equal"]
