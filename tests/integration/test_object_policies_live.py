"""Roles on buckets: what the code calls as an archiver, to keep snapshots, to import, is granted, and no more.

The stories are told by the command, on the stand-ins, as in `test_aws_policies`.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import boto3
import pytest

from binlog.address import parse_address
from binlog.aws.grants import BY_IMPORTS, BY_KCL, Resource, Role
from binlog.aws.policies import BY_LAMBDA, actions_of
from scripts.standins.server import Server
from tests.aws.recording import FREE, Calls, recording
from tests.cli.running import append, binlog

NOT_OF_THE_COMMAND = BY_LAMBDA | BY_KCL | BY_IMPORTS | {"lambda:ListEventSourceMappings"}


class World:
    """A log, a store and a bucket."""

    def __init__(self, log: str, store: str, bucket: str) -> None:
        self.log, self.store, self.bucket = log, store, bucket
        boto3.client("s3").create_bucket(Bucket=bucket)
        self.ok("init", log, "--partitions=2", "--shards=1")
        append(log, {"id": "a", "n": 1}, {"id": "b", "n": 1})

    def ok(self, verb: str, *arguments: str) -> str:
        ran = binlog(verb, *arguments)
        assert ran.status == 0, ran.err
        return ran.out

    def asked(self, calls: Calls) -> dict[str, set[str]]:
        """The actions, by the stream, the table or the bucket; those of an iterator are the stream's."""
        found: dict[str, set[str]] = {}
        for action, name in calls.asked:
            if action not in FREE:
                found.setdefault(name or parse_address(self.log).path, set()).add(action)
        return found


@pytest.fixture
def world(
    kinesis_local: Server,
    ministack: Server,
    monkeypatch: pytest.MonkeyPatch,
    stream_name: Callable[[], str],
) -> World:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", ministack.url)
    name = stream_name()
    log = f"kinesis://{name}?reads=100"
    return World(log, f"dynamodb://{stream_name()}", f"{name}-{os.getpid()}")


def granted(role: Role, *kinds: Resource) -> set[str]:
    return {action for kind in kinds for action in actions_of(role, kind)}


def test_an_archiver_calls_what_its_role_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Making an archive, going on with it, and finding that another one was quicker."""
    archive = f"s3://{world.bucket}/kept"
    with recording(monkeypatch) as calls:
        world.ok("archive", world.log, archive, "--once")
        with calls.paused():
            append(world.log, {"id": "c", "n": 1})
        world.ok("archive", world.log, archive, "--once")
        world.ok("archive", world.log, archive, "--once")
    asked = world.asked(calls)
    stream = parse_address(world.log).path
    assert asked.pop(world.bucket) == granted(
        "archive", "archive", "archive_notes", "archive_bucket"
    )
    assert asked.pop(stream) == granted("archive", "stream")
    assert asked == {}


def test_who_reads_an_archive_calls_what_a_reader_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = f"s3://{world.bucket}/kept"
    world.ok("archive", world.log, archive, "--once")
    with recording(monkeypatch) as calls:
        out = world.ok("cat", archive)
    assert out.count("\n") == 2
    assert world.asked(calls) == {world.bucket: granted("reader", "archive", "archive_bucket")}


def test_snapshots_call_what_their_role_has(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Taken, listed, thinned."""
    snapshots = f"s3://{world.bucket}/snapshots"
    world.ok("replicate", world.log, world.store, "--once")
    with recording(monkeypatch) as calls:
        world.ok("snapshot", world.store, snapshots)
        world.ok("snapshots", snapshots)
    asked = world.asked(calls)
    assert asked.pop(world.bucket) <= granted("snapshot", "snapshots", "snapshots_bucket")
    for name, actions in asked.items():
        assert actions <= granted("snapshot", "control", "tables"), name


def test_a_rebuild_by_import_calls_what_an_operator_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the table is the one that batched writes make."""
    data_sets = f"s3://{world.bucket}/imports"
    with recording(monkeypatch) as calls:
        world.ok("rebuild", world.log, world.store, "--import", data_sets, "--workers=1")
    imported = world.ok("digest", world.store)
    asked = world.asked(calls)
    read = {"s3:GetObject"}  # by the service, and by whoever finds a data set that is complete
    assert asked.pop(world.bucket) | read == granted("operator", "data_sets", "data_sets_bucket")
    by_import = granted("operator", "imported", "imports", "import_list")
    called = set[str]().union(*asked.values())
    assert called & by_import == by_import - {"dynamodb:ListImports"}, (
        "which only a killed one needs"
    )
    wanted = granted("operator", "stream", "control", "tables") | by_import
    assert called <= wanted
    world.ok("rebuild", world.log, world.store, "--workers=1")
    assert world.ok("digest", world.store) == imported


def test_no_action_is_granted_that_nobody_calls() -> None:
    """What is not of the command is Lambda's, the KCL's, or the service's own."""
    kinds: tuple[Resource, ...] = ("mappings", "function_log", "leases", "metrics", "polled")
    assert granted("archive", *kinds) <= NOT_OF_THE_COMMAND
