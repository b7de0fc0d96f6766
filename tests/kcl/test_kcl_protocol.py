"""Our processor under amazon_kclpy's own process, driven over pipes as the MultiLangDaemon does it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from typing import Any

import pytest

from binlog.errors import DamageError, StorageError
from consumers.delivery import Outcome
from consumers.kcl_health import Health
from consumers.kcl_shard import EXIT_FAILED, ShardConsumer
from tests.kcl.kcl_doubles import ScriptedWays

pytestmark = pytest.mark.timeout(600)  # processes, on a machine that may be busy

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True, scope="module")
def _needs_amazon_kclpy() -> None:
    """The stage `kcl` installs it; where that stage runs it must be there."""
    if util.find_spec("amazon_kclpy") is None:
        why = "amazon_kclpy is not installed (scripts/test --only kcl does it)"
        if os.environ.get("BINLOG_TEST_KCL") == "yes":
            pytest.fail(why)
        pytest.skip(why)


class FakeDaemon:
    """The Java side: writes a message, answers checkpoints, waits for the status."""

    def __init__(self, consumer: ShardConsumer) -> None:
        from consumers import kcl_processor

        ours, theirs = os.pipe(), os.pipe()
        self._write = os.fdopen(ours[1], "w", encoding="utf-8")
        self._read = os.fdopen(theirs[0], encoding="utf-8")
        self.checkpoints: list[tuple[str | None, int | None]] = []
        self.errors: list[str | None] = []
        self.status: object = None

        def run() -> None:
            with (
                os.fdopen(ours[0], encoding="utf-8") as messages,
                os.fdopen(theirs[1], "w", encoding="utf-8") as answers,
                Path(os.devnull).open("w", encoding="utf-8") as errors,
            ):
                try:
                    kcl_processor.run(consumer, messages=messages, answers=answers, errors=errors)
                except SystemExit as ended:
                    self.status = ended.code

        self._thread = threading.Thread(target=run)
        self._thread.start()

    def send(self, action: str, **more: Any) -> bool:
        """Whether the process answered that it is done; it has ended otherwise."""
        self._say({"action": action, **more})
        for line in self._read:
            if not line.strip():
                continue
            answer = json.loads(line)
            if answer["action"] == "status":
                assert answer["responseFor"] == action
                return True
            assert answer["action"] == "checkpoint"
            error = self.errors.pop(0) if self.errors else None
            number, sub = answer["sequenceNumber"], answer["subSequenceNumber"]
            if error is None:
                self.checkpoints.append((number, sub))
            reply = {"action": "checkpoint", "sequenceNumber": number, "subSequenceNumber": sub}
            self._say(reply if error is None else {**reply, "error": error})
        return False

    def records(self, *numbers: int) -> bool:
        records = [
            {
                "action": "record",
                "data": base64.b64encode(b"data").decode(),
                "partitionKey": "p0000",
                "sequenceNumber": str(number),
                "subSequenceNumber": 0,
                "approximateArrivalTimestamp": 1_700_000_000_000 + number % 1_000,
            }
            for number in numbers
        ]
        return self.send("processRecords", records=records, millisBehindLatest=7)

    def _say(self, message: dict[str, Any]) -> None:
        self._write.write(json.dumps(message) + "\n")
        self._write.flush()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._write.close()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._read.close()


@pytest.fixture
def ways() -> ScriptedWays:
    return ScriptedWays()


@pytest.fixture
def daemon(ways: ScriptedWays) -> Iterator[FakeDaemon]:
    made = FakeDaemon(ShardConsumer(ways, Health(None, ways.clock)))
    assert made.send(
        "initialize", shardId="shardId-0", sequenceNumber="TRIM_HORIZON", subSequenceNumber=0
    )
    yield made
    made.close()


def test_a_shard_from_its_first_record_to_its_end(ways: ScriptedWays, daemon: FakeDaemon) -> None:
    assert daemon.records(10**55, 10**55 + 1)
    assert daemon.records()
    ways.clock.advance(60_000)
    assert daemon.records(10**55 + 2)
    assert daemon.checkpoints == [(str(10**55 + 2), 0)]
    assert daemon.send("shardEnded")
    assert daemon.checkpoints[-1] == (None, None)
    assert ways.worker.durable == [10**55, 10**55 + 1, 10**55 + 2]


def test_arrival_is_the_same_whole_milliseconds(ways: ScriptedWays, daemon: FakeDaemon) -> None:
    """Every reader of the log has the same integer, whatever the process's time zone is."""
    seen: list[int] = []
    apply = ways.worker.apply

    def watch(shard: str, records: Any, *, closed: bool = False) -> Outcome:
        seen.extend(record.arrival_ms for record in records)
        return apply(shard, records, closed=closed)

    ways.worker.apply = watch  # type: ignore[method-assign]
    assert daemon.records(1, 999)
    assert seen == [1_700_000_000_001, 1_700_000_000_999]


@pytest.mark.parametrize(
    "failure", [DamageError("bad", "s"), ZeroDivisionError("a bug"), KeyError("x")]
)
def test_a_failure_is_never_answered_as_success(
    ways: ScriptedWays, daemon: FakeDaemon, failure: Exception
) -> None:
    """amazon_kclpy prints exceptions and reports the batch as done: the next one would be next."""
    ways.worker.script = [failure]
    assert not daemon.records(1)
    daemon.close()
    assert daemon.status == EXIT_FAILED
    assert daemon.checkpoints == []


@pytest.mark.parametrize("action", ["shardEnded", "shutdownRequested"])
def test_a_message_after_which_the_pipe_disagrees_ends_the_process(
    ways: ScriptedWays, daemon: FakeDaemon, action: str
) -> None:
    assert daemon.records(1)
    daemon.errors = ["InvalidStateException"]
    assert not daemon.send(action)
    daemon.close()
    assert daemon.status == EXIT_FAILED


def test_a_throttled_end_of_a_shard_is_told_again(ways: ScriptedWays, daemon: FakeDaemon) -> None:
    assert daemon.records(1)
    daemon.errors = ["ThrottlingException", "KinesisClientLibDependencyException"]
    assert daemon.send("shardEnded")
    assert daemon.checkpoints == [(None, None)]


def test_a_lost_lease_is_answered_and_nothing_is_checkpointed(
    ways: ScriptedWays, daemon: FakeDaemon
) -> None:
    assert daemon.records(1)
    daemon.errors = ["ShutdownException"]
    assert daemon.send("shutdownRequested")
    assert daemon.send("leaseLost")
    daemon.close()
    assert daemon.status is None
    assert daemon.checkpoints == []


def test_what_passes_by_itself_is_answered_in_the_end(
    ways: ScriptedWays, daemon: FakeDaemon
) -> None:
    ways.worker.script = [Outcome(1, StorageError("throttled"))] * 5
    assert daemon.records(1, 2)
    assert ways.worker.durable == [1, 2]


# -- the program ---------------------------------------------------------------------------------


def run_program(environment: dict[str, str], messages: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "consumers.kcl"],
        cwd=ROOT,
        env={**os.environ, **environment},
        input=messages,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


SETTINGS = {
    "BINLOG_LOG": "kinesis://s?region=us-east-1",
    "BINLOG_STORE": "dynamodb://t?region=us-east-1",
}


def test_a_setting_that_is_misspelt_is_one_line_and_an_exit(tmp_path: Path) -> None:
    done = run_program({**SETTINGS, "BINLOG_POISSON": "stop"}, "")
    assert done.returncode == EXIT_FAILED
    assert done.stderr.splitlines() == [
        "binlog: BINLOG_POISSON is unknown: the environment: is BINLOG_POISON meant?"
    ]


def test_ends_well_when_the_daemon_closes_the_pipe(tmp_path: Path) -> None:
    done = run_program({**SETTINGS, "BINLOG_KCL_FOLDER": str(tmp_path)}, "")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_appliers_print_is_never_in_the_protocol(tmp_path: Path) -> None:
    """One line too many on descriptor 1, by Python, C or a child, and the daemon loses its place."""
    (tmp_path / "loud.py").write_text(
        "import os, subprocess, sys\n"
        "print('by print')\n"
        "os.write(1, b'by write\\n')\n"
        "subprocess.run(['sh', '-c', 'echo by a child; cat'])\n"
        "raise RuntimeError('and then it fails')\n"
    )
    environment = {
        **SETTINGS,
        "BINLOG_APPLIERS": "loud:appliers",
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "BINLOG_KCL_FOLDER": str(tmp_path / "worker"),
    }
    first = {
        "action": "initialize",
        "shardId": "s0",
        "sequenceNumber": "TRIM_HORIZON",
        "subSequenceNumber": 0,
    }
    done = run_program(environment, json.dumps(first) + "\n" + "to nobody\n")
    assert done.returncode == EXIT_FAILED
    assert done.stdout == ""
    assert all(word in done.stderr for word in ("by print", "by write", "by a child"))
    log = (tmp_path / "worker" / "logs" / "s0.log").read_text()
    assert "and then it fails" in log
    health = json.loads((tmp_path / "worker" / "shards" / "s0.json").read_text())
    assert health["state"] == "failed"
    assert health["exit_status"] == 2
