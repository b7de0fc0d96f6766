"""Workers do their tasks, tell how far they are, and never outlive the one that began them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from binlog.errors import DamageError, StorageError
from snapshots.workers import Advance, run_forked

ROOT = Path(__file__).parents[2]


def run(function: object, tasks: list[int], **more: object) -> list[object]:
    return run_forked(function, tasks, workers=2, name="file:log", **more)  # type: ignore[arg-type]


def test_results_come_in_the_order_of_the_tasks() -> None:
    """Whichever worker is done first; a function that cannot be pickled travels by inheritance."""
    factor = 3
    assert run(lambda task, _: task * factor, list(range(20))) == [n * 3 for n in range(20)]


def test_progress_is_the_sum_of_what_the_tasks_told() -> None:
    """Each task tells its own totals; the last sums are of all of them."""
    told: list[tuple[int, int]] = []

    def work(task: int, advance: Advance) -> None:
        for done in range(1, 11):
            advance(done * task, done)

    run(work, [1, 2, 3], progress=lambda *sums: told.append(sums))
    assert told[-1] == (60, 30)
    assert told == sorted(told)


def test_an_error_keeps_what_it_says() -> None:
    """Its type decides the exit status, its details what the operator is told."""

    def work(task: int, _: Advance) -> None:
        raise DamageError("bad", "somewhere", "mend it", partition=task)

    with pytest.raises(DamageError, match="bad: somewhere: mend it") as caught:
        run(work, [5])
    assert caught.value.details == {"partition": 5}


def test_a_worker_that_is_killed_is_a_clear_error() -> None:
    """Out of memory looks like this: no result, no exception, no worker."""

    def work(task: int, _: Advance) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(StorageError, match="worker process was killed"):
        run(work, [1, 2])


def test_an_error_ends_the_others_at_once() -> None:
    """Nobody waits an hour for groups whose results are thrown away."""

    def work(task: int, _: Advance) -> None:
        if task:
            raise DamageError("bad")
        time.sleep(3_600)

    with pytest.raises(DamageError):  # the suite's time limit is the failure
        run(work, [0, 1])


INTERRUPTED = """
import os, signal
from snapshots.workers import run_forked

os.register_at_fork(after_in_parent=lambda: signal.raise_signal(signal.SIGINT))
try:
    run_forked(lambda task, _: os.write(1, b"w"), [1, 2], workers=2, name="test")
except KeyboardInterrupt:
    print("interrupted")
"""


def test_ctrl_c_at_the_moment_of_a_fork_is_not_lost() -> None:
    """Python drops what is raised around a fork, and says so: the work went on as if nothing was."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("interrupted\n")


def test_a_worker_lets_ctrl_c_in() -> None:
    """Of a terminal it reaches the whole group, and nobody waits for a worker that does not hear it."""

    def blocked(_: int, __: Advance) -> set[int]:
        return {int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())}

    assert run(blocked, [1]) == [set()]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


SLEEPERS = """
import os, time
from snapshots.workers import run_forked

def work(task, advance):
    os.write(1, b"w")
    time.sleep(3_600)

run_forked(work, [1, 2], workers=2, name="test")
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_workers_end_with_their_parent(number: signal.Signals) -> None:
    """They hold the other end of a pipe that is read to its end: that comes when all are gone."""
    parent = subprocess.Popen(
        [sys.executable, "-c", SLEEPERS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert parent.stdout is not None
    with parent.stdout:
        assert parent.stdout.read(2) == b"ww", "both are at work"
        parent.send_signal(number)
        assert parent.stdout.read() == b""  # the suite's time limit is the failure
    assert parent.wait() != 0
