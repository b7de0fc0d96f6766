"""Each role's policy is what the code calls in that role: no action missing, none too many.

The stories are told by the command, as the role tells them, on the stand-ins; every call of every
client is recorded by botocore's events.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from binlog.actions import build
from binlog.address import open_log, parse_address
from binlog.aws.policies import Role, actions_of, policy_of
from binlog.cli.policy import log_targets
from binlog.producer import Frame, Producer, Verdict
from scripts.standins.server import Server
from tests.aws.recording import Calls, recording
from tests.cli.running import append, binlog

ACCOUNT_ID = "000000000000"


@pytest.fixture
def log(
    kinesis_local: Server, monkeypatch: pytest.MonkeyPatch, stream_name: Callable[[], str]
) -> str:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    return f"kinesis://{stream_name()}?reads=100"


def ok(*arguments: str) -> None:
    ran = binlog(*arguments)
    assert ran.status == 0, ran.err


def make(log: str) -> None:
    key = "alias/aws/kinesis"
    ok("init", log, "--partitions=2", "--shards=1", "--retention=2d", f"--encrypt={key}")


def is_allowed(document: dict[str, Any], action: str, name: str) -> bool:
    """As IAM decides, for statements of exact actions and resources with ``*``."""
    for each in document["Statement"]:
        resources = [each["Resource"]] if isinstance(each["Resource"], str) else each["Resource"]
        if action in each["Action"] and any(
            fnmatchcase(name, resource.rpartition("/")[2]) for resource in resources
        ):
            return True
    return False


def check(role: Role, calls: Calls, log: str) -> None:
    assert calls.actions == set(actions_of(role, "stream"))
    document = policy_of(role, log_targets(parse_address(log), ACCOUNT_ID, "none"))
    stream = parse_address(log).path
    for action, name in calls.asked:
        # An iterator names the stream that it is of, which only the service can read.
        assert is_allowed(document, action, name or stream), (action, name)


def test_the_operator(log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch) as calls:
        make(log)
        append(log, {"id": "a"}, {"id": "b"})
        ok("rebuild", log, f"sqlite:{tmp_path}/one.db", "--workers=1")
        ok("halted", log)
    check("operator", calls, log)


def test_the_reader(log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(log)
    append(log, {"id": "a"}, {"id": "b"})
    with recording(monkeypatch) as calls:
        ok("cat", log)
        ok("status", log)
        ok("replicate", log, f"sqlite:{tmp_path}/one.db", "--once")
        ok("verify", f"sqlite:{tmp_path}/one.db", log)
    check("reader", calls, log)


def test_the_producer(log: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads only to learn what became of a frame that was not answered."""
    make(log)
    with recording(monkeypatch) as calls:
        append(log, {"id": "a"})
        with closing(open_log(log)) as opened, closing(Producer(opened)) as producer:
            envelopes = build({"n": 1}, table="users", now_ms=opened.now_ms(), new_id=lambda: "1")
            [delivery] = producer.append_many(envelopes).deliveries
            assert delivery.session is not None
            frame = Frame(delivery.session, opened.now_ms(), delivery.partition, 1, 1)
            [resolved] = producer.resolve([frame]).values()
        assert resolved.verdict is Verdict.ACKNOWLEDGED
    check("producer", calls, log)
