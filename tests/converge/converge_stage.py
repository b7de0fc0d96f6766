"""A log on running stand-ins, producers that do not stop, and what lies between everybody and them.

All calls but those of the judge, of the poller and of KCL's own Java go through proxies, in which
replies are lost, by the seed, as long as the weather is bad.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import boto3

from binlog.aws.account import Account
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import StreamOptions, create_kinesis_log
from binlog.params import Params
from binlog.producer import Producer, ProducerOptions
from scripts.standins.proxy import Proxy
from scripts.standins.proxy_faults import Fault
from scripts.standins.proxy_intruder import Intruder
from scripts.standins.server import Server
from scripts.standins.services import KINESIS_LOCAL, MINISTACK
from tests.converge.converge_rules import event_of, write_code
from tests.log.kinesis_ledger import Ledger

STREAM = "orders"
CALLS_MAX = 60_000  # of an operation, that the weather is made for
WRITES = ("PutItem", "BatchExecuteStatement")
_WEATHER = [  # how often, of a thousand calls
    (Fault("PutRecords", 1, "lose reply"), 30),
    (Fault("PutRecords", 1, "error after"), 10),
    (Fault("PutRecords", 1, "partial", of=(0,), code="InternalFailure"), 20),
    (Fault("PutRecords", 1, "partial lie", of=(0,), code="InternalFailure"), 10),
    (Fault("PutRecords", 1, "late", number=2), 2),
    (Fault("GetRecords", 1, "lose reply"), 20),
    (Fault("GetRecords", 1, "empty page"), 20),
    (Fault("PutItem", 1, "lose reply"), 20),
    (Fault("PutItem", 1, "error after"), 10),
    (Fault("BatchExecuteStatement", 1, "lose reply"), 20),
    (Fault("BatchGetItem", 1, "lose reply"), 10),
]


@dataclass(frozen=True)
class Options:
    """Of a run: the seed and these say what it does, the machine when."""

    seed: int = 1
    rounds: int = 1  # at most
    seconds: float = 0.0  # no other round is begun after that
    rate: float = 40.0  # events a second, of all producers
    events_max: int = 30_000
    partitions: int = 8
    shards: int = 2
    step_s: float = 300.0  # that anything is waited for: a machine may be busy with something else


class NotConvergedError(Exception):
    """Something did not come, or is not as it has to be."""


class Stage:
    """Started with the block, and ended with it, whatever happens in it."""

    def __init__(self, folder: Path, options: Options) -> None:
        self.folder = folder
        self.code = folder / "code"
        self.options = options
        self.met: Counter[str] = Counter()
        self.ledger = Ledger(event_of)
        self.params = Params(log_id=f"{options.seed:032x}", partitions=options.partitions)
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._weather: list[Intruder] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[Stage]:
        write_code(self.code, broken=True)
        with ExitStack() as stack:
            self._stack = stack
            kinesis = self._server(KINESIS_LOCAL)
            self.kinesis_url = kinesis.url
            self.tables_url = self._server(MINISTACK).url
            self.kinesis_proxy = self.proxy(kinesis.url, "kinesis")
            self.service = kinesis_service(STREAM, account=Account(endpoint=kinesis.url))
            how = StreamOptions(shards=self.options.shards)
            create_kinesis_log(self.service, self.params, how)
            self.log = KinesisLog(STREAM, account=Account(endpoint=kinesis.url), reads_per_s=100.0)
            stack.callback(self.log.close)
            self.dynamodb = boto3.client("dynamodb", endpoint_url=self.tables_url)
            self.client: Any = self.service.clients.calls
            stack.callback(self.end)
            yield self

    def _server(self, service: Any) -> Server:
        server = Server(service, self.folder / service.name)
        self._stack.callback(server.kill)
        return server

    def proxy(self, url: str, name: str) -> Proxy:
        """One of its own for who is to be told from the others."""
        random = Random(f"{self.options.seed} {name}")
        intruder = Intruder(_weather(random))
        self._weather.append(intruder)
        proxy = Proxy(url, intruder)
        self._stack.callback(proxy.close)
        return proxy

    def calm(self) -> None:
        """From now on every reply arrives; what is late lands."""
        for intruder in self._weather:
            intruder.quiet()

    def replies(self) -> Counter[str]:
        """What became of calls, by kind and operation."""
        found: Counter[str] = Counter()
        for intruder in self._weather:
            for (kind, operation, *_), count in intruder.met.items():
                found[f"{kind}: {operation}"] += count
        return found

    # -- threads -----------------------------------------------------------------------------------

    def run(self, name: str, work: Callable[[], object]) -> threading.Thread:
        """In a thread; what it fails with is raised by the next `check`."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised where somebody looks
                self._failed.append(error)

        thread = threading.Thread(target=guarded, name=name, daemon=True)
        self._threads.append(thread)
        thread.start()
        return thread

    @property
    def is_over(self) -> bool:
        return self._stop.is_set()

    def check(self) -> None:
        """Raise what a thread has failed with."""
        if self._failed:
            raise self._failed[0]

    def wait(self, what: str, until: Callable[[], object], *, seconds: float | None = None) -> None:
        """Until it is so.

        Raises:
            NotConvergedError: it is not in time.
        """
        seconds = self.options.step_s if seconds is None else seconds
        end = time.monotonic() + seconds
        while not until():
            self.check()
            if time.monotonic() > end:
                raise NotConvergedError(f"{what}: not in {seconds:.0f} s")
            time.sleep(0.1)

    def stop(self) -> None:
        """No thread begins anything more."""
        self._stop.set()

    def end(self) -> None:
        self.stop()
        for thread in self._threads:
            thread.join(60)

    # -- load --------------------------------------------------------------------------------------

    def start_load(self, producers: int = 2) -> None:
        self._publishing = threading.Event()
        self._publishing.set()
        self._load = [
            self.run(f"p{number}", partial(self._publish, f"p{number}", producers))
            for number in range(producers)
        ]

    def stop_load(self) -> None:
        """And all that was published has its outcome."""
        self._publishing.clear()
        for thread in self._load:
            thread.join(self.options.step_s)
        self.check()
        if any(thread.is_alive() for thread in self._load):
            raise NotConvergedError("a producer does not come to an end")

    def _publish(self, name: str, producers: int) -> None:
        options = ProducerOptions(linger_s=0.1, give_up_s=60, retry_most_s=1)
        log = KinesisLog(STREAM, account=Account(endpoint=self.kinesis_proxy.url))
        count = 10
        pause = count * producers / self.options.rate
        with contextlib.closing(log), Producer(log, options=options) as producer:
            at = 0
            while self._publishing.is_set() and not self.is_over:
                if at >= self.options.events_max / producers:
                    break
                self.ledger.publish(producer, name, range(at, at + count))
                at += count
                time.sleep(pause)
            producer.flush(self.options.step_s)


def _weather(random: Random) -> Iterator[Fault]:
    for fault, often in _WEATHER:
        at = 0
        while (at := at + max(1, round(random.expovariate(often / 1_000)))) < CALLS_MAX:
            yield fault._replace(at=at)


def nobody_s_environment() -> None:
    """No address and no credentials that the shell may hold."""
    for name in [name for name in os.environ if name.startswith(("AWS_", "BINLOG_"))]:
        del os.environ[name]
    os.environ |= {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
    }
