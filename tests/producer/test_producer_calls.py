"""Several calls at once, as a service takes them: a slow one holds only what it carries."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from binlog.log import Put, Remote, Reply
from binlog.logs import DirectoryLog, create_directory_log
from binlog.logs.memory import MemoryLog
from binlog.producer import Delivery, Outcome, Producer, ProducerOptions
from binlog.reader import Reader
from tests.producer.desk import PARAMS, event, header_of, key_in
from tests.waits import patience

ROOT = Path(__file__).parents[2]
WAIT_S = patience(60.0)  # for what happens at once, unless the test fails
HELD_S = patience(20.0)  # a call, unless somebody lets it go
KEYS = [key_in(partition) for partition in range(PARAMS.partitions)]


class RemoteLog(MemoryLog):
    """A log in memory that calls itself a service; calls of ``slow`` partitions wait at a gate."""

    calls_max = 3
    call_spacing_s = 0.0
    frames_per_s = 10_000.0

    def __init__(self) -> None:
        super().__init__(PARAMS)
        self.gate = threading.Event()
        self.slow: set[int] = set()
        self.entered = threading.Semaphore(0)
        self.threads: set[int] = set()
        self.at_once = self.most = 0
        self._counting = threading.Lock()

    def birth_ms(self) -> int:
        return self.now_ms()

    def append(self, frames: Sequence[Put]) -> list[Reply]:
        with self._counting:
            self.threads.add(threading.get_ident())
            self.at_once += 1
            self.most = max(self.most, self.at_once)
        self.entered.release()
        try:
            if self.slow & {put.partition for put in frames}:
                assert self.gate.wait(HELD_S)
            return super().append(frames)
        finally:
            with self._counting:
                self.at_once -= 1


@pytest.fixture
def log() -> Iterator[RemoteLog]:
    made = RemoteLog()
    assert isinstance(made, Remote)
    yield made
    made.gate.set()


def ids_in(log: MemoryLog | DirectoryLog) -> list[str]:
    reader = Reader(log)
    found: list[str] = []
    while (runs := reader.read()) is not None:
        for run in runs:
            found += run.columns.ids
    return found


def test_a_slow_call_holds_only_its_partitions(log: RemoteLog) -> None:
    """From the first frames of the session on: none waits for another's reply."""
    log.slow = {0}
    with Producer(log) as producer:
        slow = producer.publish(event(KEYS[0], "slow"))
        assert log.entered.acquire(timeout=WAIT_S)
        for number in range(5):
            assert producer.append(event(KEYS[1], f"quick{number}")).number == number + 1
        behind = producer.publish(event(KEYS[0], "behind"))
        assert not slow.done()
        assert not behind.done()
        log.gate.set()
        assert (slow.result(WAIT_S).number, behind.result(WAIT_S).number) == (1, 2)
    [*births] = {header_of(r.data).born_ms for p in (0, 1) for _, r in log.records(p)[1:]}
    assert len(births) == 1


def test_no_more_calls_at_once_than_the_log_says(log: RemoteLog) -> None:
    log.slow = set(range(PARAMS.partitions))
    with Producer(log) as producer:
        futures = []
        for number, key in enumerate(KEYS * 3):
            futures.append(producer.publish(event(key, f"e{number}")))
            if number < log.calls_max:
                assert log.entered.acquire(timeout=WAIT_S)
        assert not log.entered.acquire(timeout=0.05)
        log.gate.set()
        for future in futures:
            future.result(WAIT_S)
    assert log.most == log.calls_max
    assert sorted(ids_in(log)) == sorted(f"e{n}" for n in range(len(futures)))


def test_what_comes_while_a_call_has_just_begun_gathers_as_the_log_says(log: RemoteLog) -> None:
    """And goes at once when the call is over: there is no reason left to wait."""
    log.slow, log.call_spacing_s = {0}, 3_600.0
    with Producer(log) as producer:
        slow = producer.publish(event(KEYS[0], "slow"))
        assert log.entered.acquire(timeout=WAIT_S)
        others = [producer.publish(event(key, key)) for key in KEYS[1:]]
        assert not log.entered.acquire(timeout=0.05)
        log.gate.set()
        for future in [slow, *others]:
            future.result(WAIT_S)
        assert log.entered.acquire(timeout=WAIT_S)
        assert not log.entered.acquire(blocking=False), "they share a call"


def test_outcomes_are_told_one_after_the_other_and_in_order(log: RemoteLog) -> None:
    """However many calls bring them."""
    told: dict[int, list[int]] = {p: [] for p in range(PARAMS.partitions)}
    inside = threading.Lock()

    def tell(delivery: Delivery) -> None:
        assert inside.acquire(blocking=False), "two at once"
        assert delivery.outcome is Outcome.ACKNOWLEDGED
        told[delivery.partition] += range(delivery.first, delivery.first + len(delivery.indexes))
        inside.release()

    with Producer(log) as producer:
        for number in range(60):
            events = [event(key, f"{key}.{number}") for key in KEYS]
            producer.publish_many(events, on_delivery=tell)
    assert told == {p: list(range(1, 61)) for p in told}
    assert log.threads
    assert threading.get_ident() not in log.threads


def test_P8_one_call_at_once_needs_no_thread(log: RemoteLog) -> None:
    """In a Lambda nothing may run between two invocations."""
    before = set(threading.enumerate())
    with Producer(log, options=ProducerOptions(calls_max=1)) as producer:
        producer.append_many([event(key, key) for key in KEYS])
        assert not set(threading.enumerate()) - before
    assert log.threads == {threading.get_ident()}


def test_a_call_is_made_once_where_no_thread_can_be_started(
    log: RemoteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool queues a call before it starts a thread for it: its other threads find it there."""
    log.slow = {0}
    with Producer(log) as producer:
        slow = producer.publish(event(KEYS[0], "slow"))
        assert log.entered.acquire(timeout=WAIT_S)

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            assert producer.append(event(KEYS[1], "here")).number == 1
        log.gate.set()
        slow.result(WAIT_S)
        assert producer.append(event(KEYS[1], "again")).number == 2
    assert sorted(ids_in(log)) == ["again", "here", "slow"]
    assert [len(log.records(p)) for p in (0, 1)] == [2, 3]  # with the genesis


def test_a_forked_child_calls_with_threads_of_its_own(log: RemoteLog) -> None:
    with Producer(log) as producer:
        producer.append(event(KEYS[0], "parent"))
        with warnings.catch_warnings():  # a fork beside threads: what is tested here
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            try:
                done = producer.append(event(KEYS[0], "child")).number == 1
                os._exit(0 if done else 1)
            finally:
                os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert producer.append(event(KEYS[0], "again")).number == 2


_AT_EXIT = """
import sys
from binlog.logs import DirectoryLog
from binlog.producer import Producer
from tests.producer.desk import event

class Remote(DirectoryLog):
    calls_max = 2
    call_spacing_s = 0.0
    frames_per_s = 10_000.0
    def birth_ms(self):
        return self.now_ms()

producer = Producer(Remote(sys.argv[1]))
for number in range(300):
    producer.publish(event(f"key{number}", f"e{number}"))
"""


def test_what_nobody_waits_for_is_sent_before_the_program_ends(tmp_path: Path) -> None:
    """When it ends no pool starts a thread any more."""
    create_directory_log(tmp_path / "log", PARAMS)
    command = [sys.executable, "-c", _AT_EXIT, str(tmp_path / "log")]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=200, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    log = DirectoryLog(tmp_path / "log")
    assert len(ids_in(log)) == 300
    log.close()
