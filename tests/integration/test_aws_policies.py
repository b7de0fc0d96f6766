"""Each role's policy is what the code calls in that role: no action missing, none too many.

The stories are told by the command, as the role tells them, on the stand-ins; every call of every
client is recorded by botocore's events, with the stream or table that it is on.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ReadTimeoutError

from appliers.address import open_store
from appliers.store import Shareable
from appliers.stores.dynamodb_reading import LiveTables
from binlog.actions import build
from binlog.address import open_log, parse_address
from binlog.aws.account import Account, connector
from binlog.aws.policies import BY_LAMBDA, Resource, Role, actions_of, policy_of
from binlog.cli.policy import log_targets, store_targets
from binlog.foreign import Foreign
from binlog.logs.kinesis import kinesis_service
from binlog.producer import Frame, Producer, Verdict
from consumers.aws_lambda_function import Function
from consumers.aws_lambda_settings import Settings
from scripts.standins.server import Server
from tests.aws.recording import FREE, Calls, is_allowed, recording
from tests.cli.running import append, binlog
from tests.lambda_consumer.event_source_mapping import batches, event_of
from tests.lambda_consumer.function_world import Context
from tests.lambda_consumer.lambda_api import LambdaAPI
from tests.lambda_consumer.live_source import LiveSource

ACCOUNT_ID = "000000000000"
TABLES = """
[control]
pitr = true
deletion_protection = {protected}

[defaults]
pitr = true
deletion_protection = {protected}

[tables.users]
physical = "{prefix}-people"

[tables.stock]
physical = "{prefix}-stock"
owned = true

[tables.copies]
like = "{prefix}-stock"
"""


class World:
    """A log, a store, and a table that others have made."""

    def __init__(self, log: str, prefix: str, file: Path, client: Any) -> None:
        self.log, self.prefix, self.file = log, prefix, file
        self.store = f"dynamodb://{prefix}?tables={file}"
        self.owned = f"{prefix}-stock"
        client.create_table(
            TableName=self.owned,
            KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        self.declare(protected=False)

    def declare(self, *, protected: bool) -> None:
        text = TABLES.format(prefix=self.prefix, protected=str(protected).lower())
        self.file.write_text(text)

    def ok(self, verb: str, *arguments: str) -> None:
        ran = binlog(verb, *arguments)
        assert ran.status == 0, ran.err

    def kind(self, name: str) -> Resource:
        if name == f"{self.prefix}.binlog":
            return "control"
        if name == self.owned:
            return "owned"
        return "tables" if name.startswith(self.prefix) else "stream"

    def check(self, role: Role, calls: Calls, *, unmet: frozenset[str] = frozenset()) -> None:
        """Every action of the role was called on each kind of resource, and no other.

        ``unmet`` are those that another role's story meets: what is called is the same code.
        """
        found: dict[Resource, set[str]] = {}
        for action, name in calls.asked:
            if action not in FREE:
                found.setdefault(self.kind(name), set()).add(action)
        for on in ("control", "tables", "stream"):
            assert found.get(on, set()) | unmet == set(actions_of(role, on)) - BY_LAMBDA | unmet, on
        # A model is a table that others have made, too.
        assert found.get("owned", set()) <= {
            *actions_of(role, "owned"),
            *actions_of(role, "models"),
        }
        targets = log_targets(parse_address(self.log), ACCOUNT_ID, "none")
        targets += store_targets(parse_address(self.store), ACCOUNT_ID, "none")
        document = policy_of(role, targets)
        stream = parse_address(self.log).path
        for action, name in calls.asked:
            assert is_allowed(document, action, name or stream), (action, name)


@pytest.fixture
def world(
    kinesis_local: Server,
    ministack: Server,
    monkeypatch: pytest.MonkeyPatch,
    stream_name: Callable[[], str],
    tmp_path: Path,
) -> World:
    monkeypatch.setenv("AWS_ENDPOINT_URL_KINESIS", kinesis_local.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", ministack.url)
    log = f"kinesis://{stream_name()}?reads=100"
    made = World(log, stream_name(), tmp_path / "tables.toml", boto3.client("dynamodb"))
    made.ok("init", log, "--partitions=2", "--shards=1")
    append(log, {"id": "a", "n": 1}, {"id": "b", "n": 1})
    for table in ("stock", "copies", "others"):
        append(log, {"id": "a", "n": 1}, table=table)
    return made


class LostReplies:
    """The reply to one call of new items, and to one PutItem into a table of items."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.lost: set[str] = set()

    def watch(self, session: Any) -> None:
        for operation in ("PutItem", "BatchExecuteStatement"):
            session.events.register(f"before-parameter-build.dynamodb.{operation}", self._note)
            session.events.register(f"after-call.dynamodb.{operation}", self._lose)

    def _note(self, params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context["table"] = params.get("TableName")

    def _lose(self, context: dict[str, Any], model: Any, **_: Any) -> None:
        table = context["table"]
        is_items = table is None or self._world.kind(table) == "tables"
        if is_items and model.name not in self.lost:
            self.lost.add(model.name)
            raise ReadTimeoutError(endpoint_url="lost")


def apply(world: World, calls: Calls) -> None:
    """Tables are made, items folded and written, replies are lost, a foreign record is relayed."""
    loses = LostReplies(world)
    calls.also.append(loses.watch)
    world.ok("replicate", world.log, world.store, "--once")
    change = {"Action": "UpdateItem", "Key": {"id": "a"}, "Data": {"Add": {"n": 1}}}
    with calls.paused():  # a producer's
        for table in ("users", "stock"):
            append(world.log, change, table=table)
    world.ok("replicate", world.log, world.store, "--once")
    calls.also.clear()
    assert loses.lost == {"PutItem", "BatchExecuteStatement"}
    with closing(open_store(world.store)) as store:
        [generation] = store.generations()
        record = Foreign("shardId-000000000000", 7, "key", 1, b"data")
        store.commit(generation.id, [], [], foreign=[record])
        store.commit(generation.id, [], [], relayed=[record.place])
    with closing(open_store(world.store)) as store:  # as one of several workers (KCL, Lambda)
        assert isinstance(store, Shareable)
        store.share()
        assert store.checkpoints(generation.id, [0])
        store.unshare()
    world.ok("pace", world.store, "--max-behind", "6h", "--log", world.log)


def test_the_applier(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch) as calls:
        apply(world, calls)
    world.check("applier", calls)


def test_the_function(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a Lambda function calls; what Lambda calls for it is documented, and not met here."""
    stream = parse_address(world.log).path
    settings = Settings(log=world.log, store=world.store)
    source = LiveSource(kinesis_service(stream))
    with LambdaAPI([]).running() as api, recording(monkeypatch) as calls:
        monkeypatch.setenv("AWS_ENDPOINT_URL_LAMBDA", api.url)
        loses = LostReplies(world)
        calls.also.append(loses.watch)
        function = Function(settings, write=lambda _: None)

        def invoke() -> None:
            with calls.paused():  # the poller's
                found = [event_of(s, records, source.arn) for s, records in batches(source, 100)]
            for event in found:
                assert function.handle(event, Context()) == {"batchItemFailures": []}

        invoke()
        change = {"Action": "UpdateItem", "Key": {"id": "a"}, "Data": {"Add": {"n": 1}}}
        with calls.paused():  # a producer's, and somebody's record
            for table in ("users", "stock"):
                append(world.log, change, table=table)
            client = boto3.client("kinesis")
            client.put_record(StreamName=stream, Data=b"{}", PartitionKey="me")
        invoke()
        function.forget()
    assert ("lambda:ListEventSourceMappings", "") in calls.asked
    calls.asked.discard(("lambda:ListEventSourceMappings", ""))
    # Of dead letters, rejections, large states and halts; of shards before the one delivered.
    rare = {f"dynamodb:{name}" for name in ("BatchWriteItem", "Query", "Scan")}
    rare |= {f"kinesis:{name}" for name in ("GetRecords", "GetShardIterator")}
    world.check("lambda", calls, unmet=frozenset(rare))


def test_the_operator(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with recording(monkeypatch) as calls:
        stream = f"kinesis://{world.prefix}?reads=100"
        key = "--encrypt=alias/aws/kinesis"
        world.ok("init", stream, "--partitions=1", "--shards=1", "--retention=2d", key)
        append(world.log, {"id": "c"})
        apply(world, calls)
        world.declare(protected=True)
        world.ok("rebuild", world.log, world.store, "--table=users", "--workers=1")
        world.declare(protected=False)
        world.ok("rebuild", world.log, world.store, "--table=users", "--workers=1")
    calls.asked = {each for each in calls.asked if each[1] != world.prefix} | {
        (action, "") for action, name in calls.asked if name == world.prefix
    }
    world.check("operator", calls)


def test_the_producer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads only to learn what became of a frame that was not answered."""
    with recording(monkeypatch) as calls:
        append(world.log, {"id": "a"})
        with closing(open_log(world.log)) as log, closing(Producer(log)) as producer:
            envelopes = build({"n": 1}, table="users", now_ms=log.now_ms(), new_id=lambda: "1")
            [delivery] = producer.append_many(envelopes).deliveries
            assert delivery.session is not None
            frame = Frame(delivery.session, log.now_ms(), delivery.partition, 1, 1)
            [resolved] = producer.resolve([frame]).values()
        assert resolved.verdict is Verdict.ACKNOWLEDGED
    world.check("producer", calls)


def test_the_reader(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, and an application that reads the live tables."""
    world.ok("replicate", world.log, world.store, "--once")
    with recording(monkeypatch) as calls:
        world.ok("status", world.log, world.store)
        world.ok("digest", world.store)
        world.ok("dump", world.store, "--table=users")
        tables = LiveTables(connector(Account(), "dynamodb", world.store)(), world.prefix)
        users = tables.table("users")
        key = {"id": {"S": "a"}}
        assert users.get(key)
        assert list(users.get_many([key]))
        condition = {":id": {"S": "a"}}
        assert list(
            users.query(KeyConditionExpression="id = :id", ExpressionAttributeValues=condition)
        )
    world.check("reader", calls)


def test_the_relay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """It asks of its inbox what a reader asks of a log, and of its log what a producer does."""
    client, inbox = boto3.client("kinesis"), f"{world.prefix}-inbox"
    client.create_stream(StreamName=inbox, ShardCount=1)
    client.get_waiter("stream_exists").wait(StreamName=inbox, WaiterConfig={"Delay": 1})
    client.put_record(StreamName=inbox, Data=b"{}", PartitionKey="k")
    with recording(monkeypatch) as calls:
        options = ("--once", "--format=json", "--type=Seen")
        world.ok("relay", f"kinesis://{inbox}?reads=100", world.log, *options)
    log = parse_address(world.log).path
    unnamed = {action for action, on in calls.asked if not on} - FREE  # by shard or iterator
    kinds: tuple[tuple[str, Resource], ...] = ((inbox, "inbox"), (log, "stream"))
    for name, kind in kinds:
        asked = {action for action, on in calls.asked if on == name} | unnamed
        assert asked == set(actions_of("relay", kind)), name
