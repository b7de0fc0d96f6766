"""The directory log among real processes: many append, some are killed, one is forked.

Worker processes print what was acknowledged; afterwards the log must hold it, each once, in order.
"""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from random import Random

import pytest

from binlog.frame import decode_header
from binlog.log import Failed, Position
from binlog.logs import DirectoryLog, check_directory_log, create_directory_log
from tests.contracts.log_contract import appended, events, read_all
from tests.log.log_frames import PARAMS, put

ROOT = Path(__file__).parents[2]

APPENDER = """
import sys
from binlog.log import Appended
from binlog.logs import DirectoryLog
from tests.log.log_frames import put
path, session, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
log = DirectoryLog(path, segment_bytes=20_000, lock_wait_s=600)
for number in range(1, count + 1):
    puts = [put(number, session=session, partition=p, data=b"\\xc4\\x80" + bytes(128)) for p in (0, 1)]
    first, second = log.append(puts)
    assert isinstance(first, Appended) and isinstance(second, Appended), (first, second)
    print(number, first.position.sequence, second.position.sequence, flush=True)
"""


class Worker:
    """A process, and the whole lines that it has printed."""

    def __init__(self, source: str, *args: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", source, *map(str, args)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.lines: list[list[int]] = []

    def read(self, count: int | None = None) -> None:
        """``count`` more lines, or all there are when it has ended."""
        assert self.process.stdout is not None
        for line in itertools.islice(self.process.stdout, count):
            if line.endswith("\n"):
                self.lines.append([int(word) for word in line.split()])

    def end(self) -> int:
        self.read()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return self.process.wait(timeout=200)


def test_appenders_that_are_killed_lose_nothing_acknowledged(tmp_path: Path) -> None:
    """kill -9 at any moment; the others go on at once, and what was printed is there."""
    path = tmp_path / "log"
    create_directory_log(path, PARAMS)
    seed = 20_261_126
    random = Random(seed)
    print("seed", seed)
    workers = {
        session: Worker(APPENDER, path, session, 100_000 if session % 2 else 60)
        for session in range(1, 9)
    }
    for session, worker in workers.items():
        if session % 2:
            worker.read(random.randrange(5, 60))
            worker.process.send_signal(signal.SIGKILL)
    for session, worker in workers.items():
        assert worker.end() == (-9 if session % 2 else 0)

    found: dict[int, list[tuple[int, int, int]]] = defaultdict(list)
    with DirectoryLog(path) as log:
        log.settle()
        for record in events(log):
            header = decode_header(record.data)
            session = int.from_bytes(header.session.family, "big")
            found[session].append((header.first, header.partition, record.sequence))
    for session, worker in workers.items():
        expected = [
            (number, partition, position)
            for number, *positions in worker.lines
            for partition, position in enumerate(positions)
        ]
        assert expected
        rest = found[session][len(expected) :]
        assert found[session][: len(expected)] == expected
        # The commit that was under way when it was killed is there whole or not at all; what it
        # had printed into the pipe was read.
        assert [(number, partition) for number, partition, _ in rest] in (
            [],
            [(len(worker.lines) + 1, 0), (len(worker.lines) + 1, 1)],
        )
    assert [finding for finding in check_directory_log(path) if finding.broken] == []


def test_a_follower_sees_what_other_processes_append_while_they_do(tmp_path: Path) -> None:
    path = tmp_path / "log"
    create_directory_log(path, PARAMS)
    writer = Worker(APPENDER, path, 1, 80)
    with DirectoryLog(path) as log:
        after, seen = Position("0", -1), 0
        deadline = time.monotonic() + 200
        while seen < PARAMS.partitions + 160:
            assert time.monotonic() < deadline
            page = log.read(after, wait_s=5)
            after = page.next
            seen += len(page.records)
    assert writer.end() == 0
    assert len(writer.lines) == 80


FORKER = """
import os, sys, time
from binlog.logs import DirectoryLog
from tests.contracts.log_contract import appended, events
from tests.log.log_frames import put
told, tell = os.pipe()

def pause(seconds):
    os.write(tell, b"waits ")
    time.sleep(seconds)

log = DirectoryLog(sys.argv[1], lock_wait_s=60, pause=pause)
appended(log.append([put(1)]))
log._lock.acquire(1)  # as if another thread were in the middle of an append
child = os.fork()
if child == 0:
    reply = log.append([put(1, session=2)])  # must wait for the parent, whose lock it inherited
    os.write(tell, b"has it")
    os._exit(0 if appended(reply) else 1)
assert os.read(told, 6) == b"waits ", "the child did not wait"
assert len(events(log)) == 1
log._lock.release()
assert os.waitpid(child, 0)[1] == 0
appended(log.append([put(2)]))
assert len(events(log)) == 3
log.close()
"""


def test_a_forked_child_has_a_lock_of_its_own(tmp_path: Path) -> None:
    """An inherited descriptor shares the parent's lock: both would be in at once."""
    create_directory_log(tmp_path / "log", PARAMS)
    assert Worker(FORKER, tmp_path / "log").end() == 0
    assert list(check_directory_log(tmp_path / "log")) == []


def test_a_file_size_limit_fails_the_append_and_nothing_else(tmp_path: Path) -> None:
    """A real short write followed by a real error, as on a full disk."""
    path = tmp_path / "log"
    create_directory_log(path, PARAMS)
    [segment] = path.glob("*.seg")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with DirectoryLog(path) as log:
        appended(log.append([put(1)]))
        size = segment.stat().st_size
        records = read_all(log)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 100, hard))
        try:
            replies = log.append([put(2), put(2, partition=1)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        for reply in replies:
            assert isinstance(reply, Failed)
            assert (reply.untouched, reply.final) == (True, True)
            assert "EFBIG" in str(reply.error)
        assert segment.stat().st_size == size
        assert read_all(log) == records
        appended(log.append([put(2)]))
    assert list(check_directory_log(path)) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_write_permission_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    create_directory_log(path, PARAMS)
    for entry in path.iterdir():
        entry.chmod(0o444)
    path.chmod(0o555)
    with DirectoryLog(path) as log:
        assert len(read_all(log)) == PARAMS.partitions
        [reply] = log.append([put(1)])
        assert isinstance(reply, Failed)
        assert (reply.untouched, reply.final) == (True, True)
    path.chmod(0o755)
