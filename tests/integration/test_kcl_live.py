"""The real MultiLangDaemon between two stand-ins, while everything of it is killed and a shard splits.

Runs in the stage `kcl` by itself. The leases are seeded: KCL's own first start takes half a minute.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from appliers.address import open_store
from appliers.stores.memory import MemoryStore
from appliers.summary import summarize
from binlog.aws.account import Account
from binlog.errors import RefusedError
from binlog.logs.kinesis import KinesisLog, kinesis_service
from binlog.logs.kinesis_genesis import StreamOptions, create_kinesis_log
from binlog.params import Params
from binlog.producer import Outcome, Producer, ProducerOptions
from consumers.kcl_java import find_java, jars_folder
from scripts.standins.server import Server
from snapshots.rebuild import Wanted, rebuild
from tests.integration.kcl_leases import leases, seed_leases
from tests.integration.kinesis_streams import split
from tests.log.kinesis_ledger import Ledger

WAIT_S = 240.0  # ten times what each step takes on a machine that has nothing else to do
APPLICATION = "kcl-live"


@pytest.fixture(scope="module", autouse=True)
def _needs_java_and_jars() -> None:
    try:
        find_java(os.environ)
        jars_folder()
    except RefusedError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"cannot run: {error}")
        pytest.skip(f"cannot run: {error}")


class Live:
    """A stream, a store, a producer that does not stop, and one supervised worker."""

    def __init__(self, kinesis: Server, ministack: Server, stream: str, home: Path) -> None:
        self.service = kinesis_service(stream, account=Account(endpoint=kinesis.url))
        create_kinesis_log(
            self.service, Params(log_id="0" * 32, partitions=8), StreamOptions(shards=2)
        )
        self.dynamodb = boto3.client("dynamodb", endpoint_url=ministack.url)
        self.application = f"{APPLICATION}-{stream}"
        seed_leases(self.dynamodb, self.service.clients.calls, self.application, stream)
        self.folder = home / "worker"
        self.log_url = f"kinesis://{stream}?endpoint={kinesis.url}"
        self.store_url = f"dynamodb://{stream}?endpoint={ministack.url}"
        self.leases_url = f"dynamodb://{self.application}?endpoint={ministack.url}"
        self.log = KinesisLog(stream, account=Account(endpoint=kinesis.url), reads_per_s=100.0)
        self.ledger = Ledger()
        self._stop = threading.Event()
        self._load = threading.Thread(target=self._publish)
        self.worker: subprocess.Popen[bytes] | None = None

    def _publish(self) -> None:
        options = ProducerOptions(linger_s=0.02, give_up_s=30)
        with Producer(self.log, options=options) as producer:
            at = 0
            while not self._stop.is_set():
                self.ledger.publish(producer, "a", range(at, at + 5))
                at += 5
                time.sleep(0.1)
            producer.flush(WAIT_S)

    def start_load(self) -> None:
        self._load.start()

    def stop_load(self) -> None:
        self._stop.set()
        if self._load.is_alive():
            self._load.join(WAIT_S)

    # -- the worker --------------------------------------------------------------------------------

    def start_worker(self) -> None:
        command = [sys.executable, "-m", "binlog.cli", "kcl", "run", self.log_url, self.store_url]
        options = ["--leases", self.leases_url, "--worker", "w1", "--profile", "test"]
        with (self.folder.parent / "supervisor.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [*command, *options, "--folder", str(self.folder)], stdout=log, stderr=log
            )

    def stop_worker(self) -> int:
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        return self.worker.wait(WAIT_S)

    def health(self) -> dict[str, Any]:
        with contextlib.suppress(OSError, ValueError):
            found: dict[str, Any] = json.loads((self.folder / "worker.json").read_text())
            return found
        return {"starts": 0, "daemon": None, "shards": []}

    def children(self) -> dict[str, int]:
        """The process of each shard that is at work."""
        found = {}
        for path in (self.folder / "shards").glob("*.json"):
            with contextlib.suppress(OSError, ValueError):
                each = json.loads(path.read_text())
                if each["state"] == "working" and Path("/proc", str(each["pid"])).exists():
                    found[each["shard"]] = each["pid"]
        return found

    def heard_since(self, at_ms: int) -> bool:
        """Whether KCL has handed something over since, if only that there is nothing."""
        shards = self.health()["shards"]
        return any(each["state"] == "working" and each["at_ms"] > at_ms for each in shards)

    def wait(self, what: str, until: Callable[[], object]) -> None:
        end = time.monotonic() + WAIT_S
        while not until():
            if self.worker is not None and self.worker.poll() is not None:
                pytest.fail(f"the supervisor ended before {what}\n{self.said()}")
            if time.monotonic() > end:
                pytest.fail(f"{what} did not come in {WAIT_S:.0f} s\n{self.said()}")
            time.sleep(0.1)

    def said(self) -> str:
        logs = [self.folder.parent / "supervisor.log", *sorted((self.folder / "logs").glob("*"))]
        return "\n".join(
            f"== {path.name}\n{path.read_text(errors='replace')[-3_000:]}"
            for path in logs
            if path.is_file()
        )

    # -- what is applied ---------------------------------------------------------------------------

    def applied(self) -> int:
        with contextlib.closing(open_store(self.store_url)) as store:
            generations = store.generations()
            if not generations:
                return 0
            return sum(row.applied for row in store.checkpoints(generations[0].id).values())

    def wait_for_new(self, what: str) -> None:
        """Until something is applied that was published only now."""
        acknowledged = self.ledger.count(Outcome.ACKNOWLEDGED)
        self.wait(what, lambda: self.applied() > acknowledged)

    def close(self) -> None:
        self.stop_load()
        if self.worker is not None and self.worker.poll() is None:
            self.worker.kill()
            self.worker.wait()
        daemon = self.health()["daemon"]
        if daemon is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(daemon, signal.SIGKILL)
        self.log.close()


@pytest.fixture
def live(
    kinesis_local: Server, ministack: Server, stream_name: Callable[[], str], tmp_path: Path
) -> Iterator[Live]:
    made = Live(kinesis_local, ministack, stream_name(), tmp_path)
    yield made
    made.close()


@pytest.mark.timeout(1_200)
def test_everything_is_applied_once_whatever_is_killed(live: Live) -> None:
    """A shard's process, then the daemon die by SIGKILL, a shard splits in between, under load."""
    live.start_load()
    live.start_worker()
    live.wait_for_new("the first record")
    live.wait("a shard's process that says so", live.children)
    first = live.health()
    os.kill(min(live.children().values()), signal.SIGKILL)
    live.wait("another daemon", lambda: live.health()["starts"] > first["starts"])
    assert not Path("/proc", str(first["daemon"])).exists()
    live.wait_for_new("records after a shard's process was killed")

    split(live.service, 0)
    live.wait("three shards at work", lambda: len(live.children()) >= 3)
    live.wait_for_new("records of the new shards")

    live.wait("a daemon at work", lambda: live.health()["daemon"])
    second = live.health()
    os.kill(second["daemon"], signal.SIGKILL)
    live.wait("a third daemon", lambda: live.health()["starts"] > second["starts"])
    live.wait_for_new("records after the daemon was killed")

    live.stop_load()
    acknowledged = live.ledger.count(Outcome.ACKNOWLEDGED)
    live.wait("the log's end", lambda: live.applied() >= acknowledged)
    quiet_ms = round(time.time() * 1000) + 1000
    live.wait("that quiet shards are read on", lambda: live.heard_since(quiet_ms))
    third_daemon = live.health()["daemon"]
    assert live.stop_worker() == 0, live.said()
    assert not Path("/proc", str(third_daemon)).exists()
    assert live.health()["state"] == "stopped"

    live.ledger.check(live.log)
    reference = MemoryStore()
    rebuild(live.log, reference, Wanted())
    with contextlib.closing(open_store(live.store_url)) as store:
        assert summarize(store) == summarize(reference)
    rows = leases(live.dynamodb, live.application)
    told = [row["checkpoint"]["S"] for row in rows.values()]
    assert any(each.isdecimal() for each in told)
    assert "LATEST" not in told
