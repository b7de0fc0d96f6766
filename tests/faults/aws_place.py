"""Stories on running stand-ins, through the proxy: the real SDK, real threads, real connections."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from random import Random
from typing import Any, Self

import botocore.retries.standard

from appliers.store import Store
from appliers.stores.dynamodb import DynamoDBStore
from appliers.stores.dynamodb_tables_spec import Specification
from binlog.aws.account import Account, connector
from binlog.errors import BinlogError
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import begin_kinesis_log
from binlog.logs.kinesis_service import Service
from binlog.params import encode_genesis
from binlog.producer import Producer, ProducerOptions
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_intruder import Intruder
from scripts.standins.server import Server
from scripts.standins.services import REGION
from tests.faults.aws_hooks import attach
from tests.faults.fault_story import Replica, Story, play
from tests.faults.kinesis_double_place import MemoryReplica
from tests.faults.patience import TIMEOUT_S, away
from tests.integration.kinesis_streams import merge, split
from tests.log.kinesis_ledger import Publishes
from tests.log.log_frames import PARAMS

OPTIONS = ProducerOptions(
    linger_s=0.002,
    frame_bytes_goal=400,
    retry_first_s=0.005,
    retry_most_s=0.05,
    give_up_s=4,
    queue_wait_s=30,
    calls_max=3,
)
FLUSH_S = 120.0
_streams = itertools.count(1)


def hasten(patch: Callable[[object, str, object], object] = setattr) -> None:
    """The SDK's own back-off for calls that may be repeated takes seconds; here it takes none."""
    backoff = botocore.retries.standard.ExponentialBackoff
    patch(backoff, "delay_amount", lambda *_: 0.005)


def pause(seconds: float) -> None:
    time.sleep(min(seconds, 0.02))


def client_of(service: str, url: str, *, attempts: int, timeout_s: float = TIMEOUT_S) -> Any:
    """A client as the product makes them; only its patience is another one."""
    account = Account(region=REGION, endpoint=url)
    return connector(
        account,
        service,
        url,
        total_max_attempts=attempts,
        read_timeout_s=timeout_s,
        connections=16,
    )()


class DynamoDBReplica:
    """Tables behind the same faults."""

    name = "dynamodb"

    def __init__(self, url: str, prefix: str) -> None:
        self._url = url
        self._prefix = prefix

    def open(self) -> Store:
        return DynamoDBStore(
            Specification.load(None, self._prefix),
            connect=lambda is_once: client_of(
                "dynamodb",
                self._url,
                attempts=1 if is_once else 6,
            ),
            pause=pause,
            random=Random(1),
            width=6,
            patience_s=TIMEOUT_S,
        )


class Killable:
    """A stand-in that keeps its data, and that a story may kill and start again."""

    def __init__(self, start: Callable[[int | None], Server]) -> None:
        self._start = start
        self.server = start(None)
        self.kills = 0

    def kill(self) -> None:
        """With SIGKILL; it comes back at the same port."""
        self.server.kill()
        self.kills += 1
        self.server = self._start(self.server.port)

    def close(self) -> None:
        """End the one that runs now."""
        self.server.kill()


class StandInPlace:
    """A `Place`: a stream of its own, a proxy before it, one before DynamoDB."""

    hours_pass = False

    def __init__(
        self,
        story: Story,
        url: str,
        *,
        dynamodb_url: str | None = None,
        replicas: Sequence[Replica] = (),
        killable: Killable | None = None,
        hooks: bool = False,
    ) -> None:
        """``hooks``: the stream's faults happen in the client, by botocore's events."""
        self.story = story
        self._url = url
        self._hooks = hooks
        self.stream = f"faults-{os.getpid()}-{next(_streams)}"
        self._killable = killable
        self._busy = threading.Lock()  # one change of the shards at a time
        self.intruder = Intruder(
            story.faults,
            actions={"split": self._split, "merge": self._merge, "kill": self._kill},
            skew_ms=story.skew_ms,
        )
        self._open = ExitStack()
        self._proxy = self._open.enter_context(Proxy(url, self.intruder))
        past = self._open.enter_context(Proxy(url, Intruder(skew_ms=story.skew_ms)))
        self._past_url = past.url
        self.client = client_of("kinesis", url, attempts=6)
        self._service = self._make(url, story.shards)
        self.replicas: Sequence[Replica] = [MemoryReplica(), *replicas]
        self._tables_url = ""
        if dynamodb_url is not None:
            tables = self._open.enter_context(Proxy(dynamodb_url, self.intruder))
            self._tables_url = tables.url
            self.replicas = [
                *self.replicas,
                DynamoDBReplica(tables.url, self.stream),
            ]

    def _make(self, url: str, shards: int) -> Service:
        service = kinesis_service(
            self.stream,
            connect=lambda _: client_of("kinesis", url, attempts=6),
            pause=pause,
        )
        service.call("create_stream", StreamName=self.stream, ShardCount=shards)
        service.wait(lambda _: True)
        begin_kinesis_log(service, encode_genesis(PARAMS), PARAMS)
        return service

    def close(self) -> None:
        """The proxies end, and say what went wrong in them; the stream is removed."""
        try:
            self._open.close()
        finally:
            self.client.delete_stream(StreamName=self.stream)
            self.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- a place -----------------------------------------------------------------------------------

    def open(self, *, faults: bool) -> KinesisLog:
        by_hooks = faults and self._hooks
        url = self._url if by_hooks else self._proxy.url if faults else self._past_url

        def connect(puts: bool) -> Any:
            client = client_of("kinesis", url, attempts=1 if puts else 6)
            if by_hooks:
                attach(client, self.intruder)
            return client

        return KinesisLog(self.stream, connect=connect, pause=pause, reads_per_s=200.0)

    def addresses(self) -> list[str]:
        """Of the log and of the tables, behind the faults, for a process of its own."""
        return [
            f"kinesis://{self.stream}?region={REGION}&endpoint={self._proxy.url}",
            f"dynamodb://{self.stream}?region={REGION}&endpoint={self._tables_url}",
        ]

    def producer(self, log: KinesisLog, life: int) -> Producer:
        return Producer(log, options=OPTIONS, random=Random(life))

    def let_send(self, producer: Publishes, calls: int | None) -> None:
        """It sends by itself; after many calls it is waited for."""
        assert isinstance(producer, Producer)
        if calls is None or calls > 2:
            producer.flush(FLUSH_S)

    def end(self, producer: Publishes) -> None:
        assert isinstance(producer, Producer)
        producer.close(0)

    def go_by(self, ms: int) -> None:
        pass

    def wait_until_back(self) -> None:
        with self._busy:
            pass

    def is_expected(self, error: BinlogError) -> bool:
        return error.retriable or "RequestTimeTooSkewed" in str(error)

    # -- what "act" does ---------------------------------------------------------------------------

    def _split(self, of: tuple[int, ...]) -> None:
        with self._busy:
            split(self._service, of[0] if of else 0)

    def _merge(self, of: tuple[int, ...]) -> None:
        with self._busy:
            merge(self._service, of[0] if of else 0)

    def _kill(self, _: tuple[int, ...]) -> None:
        assert self._killable is not None
        with self._busy, away():
            self._killable.kill()


def play_on(url: str, story: Story, **options: Any) -> Counter[str]:
    """A story on the stand-in at ``url``; see `StandInPlace`."""
    with StandInPlace(story, url, **options) as place:
        met = play(place, story, test="play_on(kinesis_local.url, STORY)")
        met["calls the service was not there for"] += place._proxy.unanswered
        return met
