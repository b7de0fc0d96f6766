"""A fork in the middle of everything: parent and child share a log and nothing else (P1).

Each scenario is a program of its own, since a test runner has threads that a fork must not see.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from binlog.logs import DirectoryLog, create_directory_log
from binlog.params import Params
from binlog.reader import Reader
from tests.producer.desk import PARAMS

ROOT = Path(__file__).parents[2]
# A fork beside threads, which later versions of Python warn of, is what is tested here.
PYTHON = [sys.executable, "-W", "ignore::DeprecationWarning", "-c"]
PRELUDE = """
import os, sys, threading
from binlog.logs import DirectoryLog
from binlog.producer import Producer, ProducerOptions
from tests.producer.desk import event, key_in

KEY = key_in(0)
log = DirectoryLog(sys.argv[1])

def in_child(work):
    # Fork, do the work in the child, and pass its exit status on.
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""
SCENARIOS = {
    "a warm producer": """
producer = Producer(log)
producer.append(event(KEY, "parent-1"))
in_child(lambda: producer.append_many([event(KEY, f"child-{n}") for n in range(3)]))
assert producer.append(event(KEY, "parent-2")).number == 2
producer.close()
""",
    "a process id that comes again": """
from binlog.producer import Lineage
producer = Producer(log, lineage=Lineage(pid=lambda: 1))  # as a grandchild, or in a container
parents = producer.append(event(KEY, "parent-1"))
def work():
    assert producer.append(event(KEY, "child-1")).session.family != parents.session.family
in_child(work)
assert producer.append(event(KEY, "parent-2")).number == 2
producer.close()
""",
    "queued events stay the parent's": """
producer = Producer(log, options=ProducerOptions(linger_s=3_600.0))
parents = producer.publish(event(KEY, "parent-1"))
def work():
    producer.flush(60)
    producer.append(event(KEY, "child-1"))
    producer.close(60)
in_child(work)
producer.flush(60)
assert parents.result(0).number == 1
producer.close()
""",
    "while another thread commits": """
gate, entered = threading.Event(), threading.Event()
real = log.append
def slow(frames):
    entered.set()
    gate.wait(60)
    return real(frames)
log.append = slow
producer = Producer(log)
futures = [producer.publish(event(KEY, "parent-1"))]
assert entered.wait(60)
futures.append(producer.publish(event(KEY, "parent-2")))
def work():
    log.append = real
    producer.publish(event(KEY, "child-1")).result(60)
    producer.close(60)
in_child(work)
gate.set()
assert [f.result(60).number for f in futures] == [1, 2]
producer.close()
""",
    "a fork that Python did not see": """
producer = Producer(log)
producer.append(event(KEY, "parent-1"))
def work():
    # As after a fork in C: the hooks have not run for the producer.
    ack = producer.append(event(KEY, "child-1"))
    assert ack.number == 1
from binlog.producer import lives
lives.PRODUCERS.clear()
in_child(work)
producer.close()
""",
    "grandchildren": """
producer = Producer(log)
producer.append(event(KEY, "parent-1"))
def work():
    producer.append(event(KEY, "child-1"))
    in_child(lambda: producer.append(event(KEY, "grandchild-1")))
    producer.append(event(KEY, "child-2"))
in_child(work)
producer.append(event(KEY, "parent-2"))
producer.close()
""",
    "multiprocessing": """
import multiprocessing
producer = Producer(log)
producer.append(event(KEY, "parent-01"))
def work(name):
    for n in range(20):
        producer.append(event(KEY, f"child-{name}.{n:02}"))
context = multiprocessing.get_context("fork")
children = [context.Process(target=work, args=(n,)) for n in range(3)]
for child in children:
    child.start()
for n in range(20):
    producer.append(event(KEY, f"parent-{n + 2:02}"))
for child in children:
    child.join(60)
    assert child.exitcode == 0
producer.close()
""",
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_parent_and_child_number_their_events_apart(tmp_path: Path, name: str) -> None:
    """A cloned session would number two processes' events alike, and one would be dropped."""
    path = tmp_path / "log"
    create_directory_log(path, msgspec.structs.replace(PARAMS, log_id="ef" * 16))
    done = subprocess.run(
        [*PYTHON, PRELUDE + SCENARIOS[name], str(path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    families: dict[bytes, list[str]] = {}
    with DirectoryLog(path) as log:
        reader = Reader(log)
        while (runs := reader.read()) is not None:
            for run in runs:
                families.setdefault(run.session.family, []).extend(run.columns.ids)
        assert not reader.halts
    processes = [{each.split(".")[0].rpartition("-")[0] for each in f} for f in families.values()]
    assert all(len(process) == 1 for process in processes), families
    assert len(families) == {"grandchildren": 3, "multiprocessing": 4}.get(name, 2)
    for names in families.values():
        assert names == sorted(names)
    if name == "multiprocessing":
        assert sum(map(len, families.values())) == 1 + 20 + 3 * 20


def test_the_exit_of_a_process_flushes_what_nobody_waited_for(tmp_path: Path) -> None:
    """A script that publishes and ends would lose its last events without a word."""
    path = tmp_path / "log"
    create_directory_log(path, Params(log_id="ef" * 16, partitions=4))
    program = """
producer = Producer(log, options=ProducerOptions(linger_s=3_600.0))
for n in range(10):
    producer.publish(event(KEY, f"e{n}"))
"""
    subprocess.run(
        [*PYTHON, PRELUDE + program, str(path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT)},
        timeout=200,
        check=True,
    )
    with DirectoryLog(path) as log:
        reader = Reader(log)
        runs = reader.read()
        assert runs is not None
        assert [name for run in runs for name in run.columns.ids] == [f"e{n}" for n in range(10)]
