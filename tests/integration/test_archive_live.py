"""A stream's records into a bucket: two archivers in a race, a split, a kill, and a replica from it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from binlog.address import Named, open_log
from binlog.archive.keys import ROOT_KEY
from binlog.archive.named_log import NamedArchiveLog
from binlog.aws.account import Account, connector
from binlog.log import Position
from binlog.logs.kinesis import kinesis_service
from binlog.logs.kinesis_tags import archive_of_tags
from binlog.objects import open_objects
from scripts.standins.server import Server
from tests.cli.running import Started, append, binlog
from tests.integration.kinesis_streams import split
from tests.integration.waiting import PATIENCE_S, until


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


def segments(into: str) -> list[str]:
    """The keys of what lies in the bucket, but for what the archive is."""
    with closing(open_objects(into)) as objects:
        return [entry.key for entry in objects.list() if entry.key != ROOT_KEY]


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
        until(lambda: segments(into), "a segment of one of the two")
        split(service, 0)
        append(log, *({"id": f"u{n % 9}", "n": n} for n in range(60, 120)))
        killed.kill()
        append(log, *({"id": f"u{n % 9}", "n": n} for n in range(120, 160)))
        ended.send_signal(signal.SIGTERM)
        out, err = ended.communicate(timeout=PATIENCE_S)
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


def test_an_announced_archive_is_found_by_the_tags_of_the_stream(
    places: tuple[str, str, str],
) -> None:
    """With an address that a tag does not take as it is; and what it names can be read."""
    name, log, into = places
    assert answer("init", log, "--partitions=4", "--shards=1")["state"] == "created"
    append(log, *({"id": f"u{n}", "n": n} for n in range(4)))
    assert answer("archive", log, into, "--once", "--announce")["announced"] == 4
    assert archive_of_tags(kinesis_service(name).tags()) == into
    with closing(open_log(log, named=Named(from_beginning=True))) as opened:
        assert isinstance(opened, NamedArchiveLog)
        assert opened.has_archive()
        assert sum(len(opened.read(Position(s.id, -1)).records) for s in opened.shards()) >= 8
    ran = binlog("cat", log, "--json")
    assert ran.status == 0, ran.err
    assert len(ran.out.splitlines()) == 4
    assert not ran.err  # nothing is missing, so it is not asked
