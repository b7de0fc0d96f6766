"""The log on Kinesis against plain boto3, both on the volume stand-in, in one run.

Two figures. *Puts*: our producer, from Python values to the last acknowledgement, against a loop of
`put_records` with 500 single events a call, as anybody writes it first. *Replay*: our rebuild into
memory with all checks on, against a bare loop over `get_records` of the same stream that throws away
what it reads, compressed as it is; and against that loop with the least code that unpacks and folds
it, which is the work that is to be done at all. Clients are made before the time is taken.

The stand-in (kinesalite, on disk) is a process of its own, so on two CPUs it works beside either
side. It enforces no throughput and no pace: our read budget is set so high that it waits for
nothing, as the loop does not. What the figures compare is the work of a client and how many requests
it makes, not a network: on AWS a request takes longer, and several at once matter more.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from appliers.address import open_store
from appliers.store import Store
from binlog.actions import build_many
from binlog.address import open_log
from binlog.aws.account import Account
from binlog.clock import SystemClock
from binlog.log import Log
from binlog.logs.kinesis import kinesis_service
from binlog.logs.kinesis_genesis import StreamOptions, create_kinesis_log
from binlog.params import Params
from binlog.producer import Acks, Producer, ProducerOptions
from scripts.benchmarks.measure import UnavailableError
from scripts.benchmarks.straight import Table, fold_frames, is_genesis
from scripts.benchmarks.workload import PARTITIONS, Action, History, Items, fold_one
from scripts.standins.install import CannotRunError
from scripts.standins.server import NotStartedError, Server
from scripts.standins.services import KINESALITE, REGION
from snapshots.rebuild import Wanted
from snapshots.rebuild import rebuild as rebuild_tables

SHARDS = 4
CALL_EVENTS = 500  # PutRecords takes no more
_READS_PER_S = 10_000
_FILL_S = 3_600.0
_clock = SystemClock()
_AWS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "NO_PROXY": "127.0.0.1",
    "no_proxy": "127.0.0.1",
}


class Standin:
    """The stand-in, started at the first use; close it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: Server | None = None
        self._stack = contextlib.ExitStack()
        self._streams = 0

    def close(self) -> None:
        """End the server; the environment is as it was."""
        self._stack.close()

    @property
    def url(self) -> str:
        """Its address.

        Raises:
            UnavailableError: it cannot run here.
        """
        if self._server is None:
            try:
                self._server = Server(KINESALITE, self._folder)
            except (CannotRunError, NotStartedError) as error:
                reason = str(error).splitlines()[0]
                raise UnavailableError(f"no stand-in: {reason}") from error
            self._stack.callback(self._server.kill)
            self._stack.enter_context(_environment())
        return self._server.url

    def new_stream(self) -> str:
        """A name."""
        self._streams += 1
        return f"bench-{self._streams}"

    def client(self) -> Any:
        """As boto3 gives it, and its defaults."""
        import boto3

        return boto3.client("kinesis", endpoint_url=self.url, region_name=REGION)

    # -- ours ------------------------------------------------------------------------------------

    def make_log(self) -> str:
        """A new, empty log: its address."""
        stream = self.new_stream()
        service = kinesis_service(stream, account=Account(endpoint=self.url))
        wanted = Params(log_id="0" * 32, partitions=PARTITIONS)
        create_kinesis_log(service, wanted, StreamOptions(shards=SHARDS))
        return f"kinesis://{stream}?endpoint={self.url}&reads={_READS_PER_S}"

    def remove(self, stream: str) -> None:
        """By name or address: the server is slower with all that it holds."""
        self.client().delete_stream(StreamName=stream_of(stream))


def stream_of(address: str) -> str:
    """The stream's name."""
    return address.removeprefix("kinesis://").partition("?")[0]


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """Credentials of nobody, and no proxy between two processes of one machine."""
    before = {name: os.environ.get(name) for name in _AWS}
    os.environ |= _AWS
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def publish(log: Log, batches: list[list[Action]]) -> None:
    """Every batch published; the last acknowledgement has come on return."""
    with Producer(log) as producer:
        futures: deque[Future[Acks]] = deque()
        for batch in batches:
            envelopes = build_many(batch, now_ms=_clock.now_ms())
            futures.append(producer.publish_many(envelopes))
            while futures and futures[0].done():
                futures.popleft().result()
        producer.flush()
        for future in futures:
            future.result()


def write_log(standin: Standin, spec: History) -> str:
    """A log of the history, as a producer makes it that always has something to send."""
    address = standin.make_log()
    options = ProducerOptions(linger_s=_FILL_S)  # a frame goes when it is full
    with contextlib.closing(open_log(address)) as log, Producer(log, options=options) as producer:
        for batch in spec.batches(5_000):
            producer.publish_many(build_many(batch, now_ms=_clock.now_ms()))
        producer.flush()
    return address


def replay(log: Log) -> Store:
    """The log into a store in memory, all checks on, in this process."""
    store = open_store("memory:")
    rebuild_tables(log, store, Wanted())
    return store


# -- plain boto3 ---------------------------------------------------------------------------------


def make_stream(client: Any, stream: str) -> None:
    """A stream that takes records."""
    client.create_stream(StreamName=stream, ShardCount=SHARDS)
    client.get_waiter("stream_exists").wait(
        StreamName=stream, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )


def put_singly(client: Any, stream: str, batches: list[list[Action]]) -> None:
    """One event a record, `CALL_EVENTS` a call, and again what failed."""
    encode = msgspec.json.Encoder().encode
    for batch in batches:
        records = [{"Data": encode(event), "PartitionKey": event["Key"]["id"]} for event in batch]
        while records:
            reply = client.put_records(StreamName=stream, Records=records)
            if not reply["FailedRecordCount"]:
                break
            entries = zip(records, reply["Records"], strict=True)
            records = [record for record, entry in entries if "ErrorCode" in entry]


def pages(client: Any, stream: str) -> Iterator[list[Any]]:
    """All records that there are: the bare loop."""
    shards = client.list_shards(StreamName=stream)["Shards"]
    for shard in shards:
        iterator = client.get_shard_iterator(
            StreamName=stream, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        while iterator:
            reply = client.get_records(ShardIterator=iterator)
            if not reply["Records"]:
                break
            yield reply["Records"]
            iterator = reply.get("NextShardIterator")


def read_all(client: Any, stream: str) -> int:
    """The bare loop and nothing else; how many bytes it met."""
    return sum(len(record["Data"]) for page in pages(client, stream) for record in page)


def fold_straight(client: Any, stream: str) -> Table:
    """The loop, and the straight fold of our frames: no check, no order, no duplicates."""
    datas = (record["Data"] for page in pages(client, stream) for record in page)
    return fold_frames(data for data in datas if not is_genesis(data))


def items_of_singles(client: Any, stream: str) -> Items:
    """What single events fold to, for the oracle's digest."""
    items: Items = {}
    for page in pages(client, stream):
        for record in page:
            fold_one(items, msgspec.json.decode(record["Data"]))
    return items
