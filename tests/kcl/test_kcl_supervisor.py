"""The supervisor: one daemon at a time, started again, stopped cleanly; and the lock beneath it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import msgspec
import pytest

from binlog.clock import ManualClock, SystemClock
from binlog.errors import BinlogError, BusyError, StorageError
from consumers import kcl_daemon
from consumers.kcl_daemon import Launch, Supervised, Supervisor, backoff_s, last_error
from consumers.kcl_health import SHARDS, ShardHealth
from consumers.kcl_process import FolderLock, ProcessGroup, group_is_empty
from consumers.metrics import write_json


class FakeGroup:
    """A daemon that lives so long, and whose children live on a while."""

    def __init__(self, world: World, status: int, lives_s: float, children_s: float) -> None:
        self.pid = 1_000 + len(world.groups)
        self._world = world
        self._status = status
        self._ends_at = world.clock.monotonic() + lives_s
        self._children_s = children_s
        self.stopped = self.killed = 0

    def poll(self) -> int | None:
        return self._status if self._world.clock.monotonic() >= self._ends_at else None

    def stop(self) -> None:
        self.stopped += 1
        self._status = 143
        self._ends_at = self._world.clock.monotonic() + self._world.stop_takes_s

    def kill(self) -> None:
        self.killed += 1
        self._ends_at = min(self._ends_at, self._world.clock.monotonic())
        self._children_s = 0

    def is_empty(self) -> bool:
        return self._world.clock.monotonic() >= self._ends_at + self._children_s


class World:
    """Daemons that come and go in a time that passes only by sleeping."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        self.folder = folder
        self.groups: list[FakeGroup] = []
        self.started_at: list[float] = []
        self.stop_at: list[float] = []
        self.stop_takes_s = 1.0
        self.lives: list[tuple[int, float, float]] = []
        self.on_start: Callable[[], None] = lambda: None

    def start(self) -> FakeGroup:
        assert all(group.is_empty() for group in self.groups), "two daemons at once"
        life = self.lives.pop(0) if self.lives else (1, 10_000.0, 0.0)
        self.started_at.append(self.clock.monotonic())
        self.groups.append(FakeGroup(self, *life))
        self.on_start()
        return self.groups[-1]

    def sleep(self, seconds: float) -> None:
        self.clock.advance(max(1, round(seconds * 1000)))

    def stopping(self) -> int:
        return sum(self.clock.monotonic() >= at for at in self.stop_at)

    def supervisor(self) -> Supervisor:
        launch = Launch(command=["x"], environment={}, folder=self.folder, grace_s=3.0)
        return Supervisor(
            launch,
            worker="w1",
            start=self.start,
            clock=self.clock,
            random=Random(0),
            sleep=self.sleep,
            stopping=self.stopping,
        )

    def after(self, seconds: float) -> None:
        self.stop_at.append(self.clock.monotonic() + seconds)

    def shard(self, state: str, **more: object) -> None:
        (self.folder / SHARDS).mkdir(exist_ok=True)
        known = ShardHealth(shard="s0", state=state, at_ms=self.clock.now_ms())
        for name, value in more.items():
            setattr(known, name, value)
        write_json(self.folder / SHARDS / "s0.json", known)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_daemon_that_ends_is_started_again(world: World) -> None:
    world.lives = [(1, 100, 0), (137, 100, 0)]
    world.on_start = lambda: world.shard("working")
    world.after(1_000)
    world.supervisor().run()
    assert len(world.groups) == 3
    waits = [b - a - 100 for a, b in zip(world.started_at, world.started_at[1:], strict=False)]
    assert all(0 < wait < 2 for wait in waits)


def test_the_next_one_waits_for_the_children_of_the_last(world: World) -> None:
    """`World.start` fails where one of them is left; who does not end by itself is ended."""
    world.lives = [(1, 100, 8.0), (1, 100, 1e9)]
    world.after(1_000)
    world.supervisor().run()
    assert [group.killed for group in world.groups[:2]] == [0, 1]
    assert world.started_at[2] - world.started_at[1] < 100 + kcl_daemon.CHILDREN_S + 5


def test_waits_longer_and_longer_between_daemons_that_do_not_last(world: World) -> None:
    world.lives = [(1, 5, 0)] * 12
    world.on_start = lambda: world.shard("working")
    world.after(3_000)
    world.supervisor().run()
    waits = [b - a - 5 for a, b in zip(world.started_at, world.started_at[1:], strict=False)][:12]
    assert waits[0] < 2.5
    assert 25 < max(waits) <= kcl_daemon.BACKOFF_MAX_S + 1
    assert sorted(waits[:5]) == waits[:5]


def test_the_wait_is_shaken() -> None:
    """Workers that died of one thing must not come back at one moment."""
    waits = {backoff_s(3, Random(seed)) for seed in range(20)}
    assert len(waits) == 20
    assert all(4 <= wait <= 8 for wait in waits)
    assert backoff_s(10_000, Random(1)) <= kcl_daemon.BACKOFF_MAX_S


def test_a_clean_stop_asks_the_daemon_once_and_waits_for_it(world: World) -> None:
    world.after(50)
    world.supervisor().run()
    [group] = world.groups
    assert (group.stopped, group.killed) == (1, 0)
    noted = msgspec.json.decode((world.folder / "worker.json").read_bytes(), type=Supervised)
    assert (noted.state, noted.daemon, noted.last_status) == ("stopped", None, 143)


def test_a_daemon_that_does_not_end_is_ended(world: World) -> None:
    world.stop_takes_s = 1e9
    world.after(50)
    world.supervisor().run()
    assert world.groups[0].killed
    assert world.clock.monotonic() - world.started_at[0] < 50 + 3 + kcl_daemon.STOP_EXTRA_S + 2


def test_who_asks_twice_does_not_want_to_wait(world: World) -> None:
    world.stop_takes_s = 1e9
    world.after(50)
    world.after(52)
    world.supervisor().run()
    assert world.groups[0].killed
    assert world.clock.monotonic() - world.started_at[0] < 54


def test_asked_while_it_waits_it_starts_no_other(world: World) -> None:
    world.lives = [(1, 5, 0)] * 30
    world.on_start = lambda: world.shard("working")
    world.after(200)
    world.supervisor().run()
    assert max(world.started_at) < world.stop_at[0]
    assert world.clock.monotonic() <= world.stop_at[0] + 3


def test_what_every_daemon_would_end_with_ends_the_supervisor(world: World) -> None:
    world.lives = [(1, 5, 0)]
    world.on_start = lambda: world.shard(
        "failed", error="another log's", where="dynamodb://x", do="name another", exit_status=2
    )
    world.after(100)
    with pytest.raises(BinlogError, match="another log's: dynamodb://x: name another") as ended:
        world.supervisor().run()
    assert ended.value.exit_status == 2
    assert len(world.groups) == 1


def test_what_another_daemon_may_do_better_does_not(world: World) -> None:
    world.lives = [(1, 5, 0)]
    world.on_start = lambda: world.shard("failed", error="throttled", exit_status=None)
    world.after(100)
    world.supervisor().run()
    assert len(world.groups) == 2


def test_daemons_that_never_have_a_shard_are_given_up_with_their_reason(world: World) -> None:
    (world.folder / "logs").mkdir()
    (world.folder / "logs" / "daemon.log").write_text(
        "2026 INFO x\nException in thread main\nCaused by: AccessDeniedException: no\n\tat x\n"
    )
    world.lives = [(1, 2, 0)] * 50
    with pytest.raises(StorageError, match="AccessDeniedException: no"):
        world.supervisor().run()
    assert len(world.groups) == kcl_daemon.FRUITLESS_MAX
    assert last_error(world.folder) == ""


def test_an_error_here_leaves_no_daemon_behind(world: World) -> None:
    def broken(_: float) -> None:
        raise KeyboardInterrupt

    supervisor = world.supervisor()
    supervisor._sleep = broken
    with pytest.raises(KeyboardInterrupt):
        supervisor.run()
    assert world.groups[0].killed


# -- processes and the lock ----------------------------------------------------------------------

FAMILY = (
    "import subprocess, sys, time\n"
    "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
    "print('up', flush=True)\n"
    "time.sleep(600)\n"
)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def family(tmp_path: Path) -> Iterator[tuple[ProcessGroup, FolderLock]]:
    """A process with a child, as the daemon is one."""
    lock = FolderLock(tmp_path)
    lock.take(clock=SystemClock(), sleep=time.sleep, stopping=lambda: 0)
    command = [sys.executable, "-c", FAMILY]
    launch = Launch(command=command, environment=dict(os.environ), folder=tmp_path, grace_s=1)
    group = ProcessGroup(launch, lock.file)
    lock.note(daemon=group.pid)
    until(lambda: "up" in (tmp_path / "logs" / "daemon.out").read_text())
    yield group, lock
    group.kill()
    lock.close()


def test_a_group_is_empty_when_the_last_child_is_gone(
    family: tuple[ProcessGroup, FolderLock],
) -> None:
    group, _ = family
    assert not group.is_empty()
    os.kill(group.pid, signal.SIGKILL)
    until(lambda: group.poll() is not None)
    assert not group.is_empty()
    group.kill()
    until(group.is_empty)
    assert group_is_empty(group.pid)


def test_two_supervisors_of_one_folder_are_refused(tmp_path: Path) -> None:
    """Two daemons under one name would both believe that the leases are theirs."""
    program = (
        "import sys, time; from pathlib import Path\n"
        "from binlog.clock import SystemClock; from consumers.kcl_process import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]))\n"
        "lock.take(clock=SystemClock(), sleep=time.sleep, stopping=lambda: 0)\n"
        "print('held', flush=True); time.sleep(600)\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        lock = FolderLock(tmp_path)
        with pytest.raises(BusyError, match="--worker"):
            lock.take(clock=SystemClock(), sleep=time.sleep, stopping=lambda: 0)
        other.kill()
        other.wait()
        lock.take(clock=SystemClock(), sleep=time.sleep, stopping=lambda: 0)
        lock.close()
    finally:
        other.kill()
        other.wait()
        if other.stdout is not None:
            other.stdout.close()


def test_a_daemon_whose_supervisor_was_killed_is_ended_before_another_is_started(
    tmp_path: Path,
) -> None:
    """It holds the lock as long as it lives, so nobody starts a second one beside it."""
    (tmp_path / "logs").mkdir()
    program = (
        "import os, sys, time; from pathlib import Path\n"
        "from binlog.clock import SystemClock\n"
        "from consumers.kcl_daemon import Launch\n"
        "from consumers.kcl_process import FolderLock, ProcessGroup\n"
        "folder = Path(sys.argv[1]); lock = FolderLock(folder)\n"
        "lock.take(clock=SystemClock(), sleep=time.sleep, stopping=lambda: 0)\n"
        "command = [sys.executable, '-c', sys.argv[2]]\n"
        "launch = Launch(command=command, environment=dict(os.environ), folder=folder, grace_s=1)\n"
        "group = ProcessGroup(launch, lock.file); lock.note(daemon=group.pid)\n"
        "print(group.pid, flush=True); time.sleep(600)\n"
    )
    supervisor = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path), FAMILY], stdout=subprocess.PIPE, text=True
    )
    assert supervisor.stdout is not None
    daemon = int(supervisor.stdout.readline())
    try:
        until(lambda: "up" in (tmp_path / "logs" / "daemon.out").read_text())
        supervisor.kill()
        supervisor.wait()
        assert not group_is_empty(daemon)
        lock = FolderLock(tmp_path)
        slept: list[float] = []

        def sleep(seconds: float) -> None:
            slept.append(seconds)
            if len(slept) > 5:  # its child lives on, as one that is at work does
                os.killpg(daemon, signal.SIGKILL)
            time.sleep(seconds)

        lock.take(clock=SystemClock(), sleep=sleep, stopping=lambda: 0)
        assert group_is_empty(daemon)
        lock.close()
    finally:
        supervisor.kill()
        supervisor.stdout.close()
        if not group_is_empty(daemon):
            os.killpg(daemon, signal.SIGKILL)
