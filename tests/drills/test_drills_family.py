"""What a command has started is found whatever session it made for itself, and nobody else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from binlog.drills.family import VARIABLE, freeze_all, kill_all, members, signal_all
from binlog.drills.processes import Processes

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")

# As a supervisor has a daemon, and a runtime a function whose environment it has made from nothing.
PARENT = """
import subprocess, sys, time
rest = [sys.executable, "-c", "import time; print(flush=True); time.sleep(60)"]
daemon = subprocess.Popen([*rest, "daemon"], start_new_session=True, stdout=subprocess.PIPE)
function = subprocess.Popen([*rest, "function"], env={}, stdout=subprocess.PIPE)
daemon.stdout.readline(), function.stdout.readline()
print(daemon.pid, function.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family() -> Iterator[tuple[int, int, int, str]]:
    """Group, daemon, function and mark."""
    mark = f"test-{os.getpid()}-{os.urandom(4).hex()}"
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT],
        env={**os.environ, VARIABLE: mark},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    daemon, function = map(int, process.stdout.readline().split())
    yield process.pid, daemon, function, mark
    kill_all(process.pid, mark, seconds=60)
    process.wait(60)
    process.stdout.close()


def test_a_commands_own_variables_are_the_last_word(tmp_path: Path) -> None:
    """Another machine's folder is none of the drill's: what is given for all of them gives way."""
    all_of_them = {**os.environ, "XDG_STATE_HOME": "nowhere", "OF_ALL": "1"}
    processes = Processes(tmp_path, all_of_them, mark=os.urandom(8).hex())
    script = "import os; print(os.environ['XDG_STATE_HOME'], os.environ['OF_ALL'], flush=True)"
    started = processes.start(
        "a command", [sys.executable, "-c", script], {"XDG_STATE_HOME": "elsewhere"}
    )
    try:
        end = time.monotonic() + 60
        while not started.has_ended:
            assert time.monotonic() < end
            time.sleep(0.02)
        assert started.last_line == "elsewhere 1"
        started.forgive()
    finally:
        processes.end_all()


def state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def test_all_of_a_family_are_found_its_first_one_first(family: tuple[int, int, int, str]) -> None:
    """One left its session, the other its environment; each is told by its command line."""
    group, daemon, function, mark = family
    found = members(group, mark)
    assert found[0].pid == group
    assert {each.pid for each in found} == {group, daemon, function}
    assert [each.pid for each in found if each.command.endswith(" daemon")] == [daemon]


def test_another_mark_is_another_family(family: tuple[int, int, int, str]) -> None:
    """Two drills at once, two consumers of one drill: each ends its own."""
    group, daemon, function, mark = family
    assert {each.pid for each in members(group, f"{mark}0")} == {group, function}
    assert [each.pid for each in members(-1, mark)] == sorted([group, daemon])


def test_what_stands_still_is_all_of_it(family: tuple[int, int, int, str]) -> None:
    """A machine that is paused pauses the daemon, too."""
    group, daemon, function, mark = family
    assert freeze_all(group, mark, seconds=60)
    assert [state(pid) for pid in (group, daemon, function)] == ["T", "T", "T"]
    assert all(each.stopped for each in members(group, mark))
    signal_all(group, mark, signal.SIGCONT)
    assert "T" not in [state(pid) for pid in (group, daemon, function)]


def test_nobody_is_left_even_if_the_first_one_is_gone(family: tuple[int, int, int, str]) -> None:
    """Its group lives on in the function, its mark in the daemon."""
    group, daemon, function, mark = family
    os.kill(group, signal.SIGKILL)
    os.waitpid(group, 0)
    assert {each.pid for each in members(group, mark)} == {daemon, function}
    assert kill_all(group, mark, seconds=60)
    assert members(group, mark) == []
