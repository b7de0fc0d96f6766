"""A drill that is interrupted, or killed: everything that it started is ended, and no file of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from binlog.drills.interrupts import Interrupts
from binlog.drills.reaper import VARIABLE, end_marked
from binlog.drills.result import decode_result
from tests.waits import patience

pytestmark = pytest.mark.timeout(600)  # processes by the dozen, on a machine that may be busy

ROOT = Path(__file__).parents[2]
GONE_S = patience(90.0)
OF = "OF_THIS_TEST"

SLOW = """
import sys, time
from binlog.drills import Action, Drill, drill, twin


@drill("slow", title="Slow", looks="-", take_back="-")
@twin("nothing", {"binlog rebuild {log} {live}": None})
def slow(d: Drill) -> None:
    \"\"\"It stands still in a phase.\"\"\"
    d.init(partitions=1)
    d.load(100)
    consumer = d.replicate("live")
    d.flow(20)
    d.start("sh -c 'mktemp; setsid sleep 1000 & exec sleep 1000'")  # a daemon's session
    print(f"pids {consumer.pid} {d.target.folder}", flush=True)
    STAND
"""
STANDS = {
    "given": "time.sleep(60)",
    "command": "d.run('binlog replicate {log} {lazy}')",
    "disaster": "\n    with d.disaster('x', shown=lambda: 'x'):\n        time.sleep(60)",
    "wait": "d.wait('never', lambda: False)",
    "frozen": "consumer.freeze(); time.sleep(60)",
    "swallowed": "\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass\n    d.flow(10**9)",
    "swallowed at the end": "\n    try:\n        time.sleep(60)\n    except BaseException:\n        pass",
}


class Running:
    """``binlog drill run slow``, and everything that is of it."""

    def __init__(self, folder: Path, stand: str) -> None:
        (folder / "drill_slow.py").write_text(SLOW.replace("STAND", stand))
        self.report = folder / "report"
        self.places = folder / "tmp"
        self.places.mkdir()
        self.process = subprocess.Popen(
            [
                *(sys.executable, "-m", "binlog.cli", "drill", "run", "slow"),
                *("--drills", str(folder), "--report", str(self.report)),
            ],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": str(ROOT),
                "TMPDIR": str(self.places),
                OF: str(folder),
            },
            text=True,
        )

    def until_it_stands(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line.startswith("pids "), self.process.communicate()

    def until_all_are_there(self) -> None:
        """The drill, its reaper, a consumer, a shell's two that sleep; each is seen a bit after its start."""
        until = time.monotonic() + GONE_S
        while len(there := self.alive()) <= 4:
            assert time.monotonic() < until, there
            time.sleep(0.02)

    def alive(self) -> list[str]:
        """Processes with this test's variable, which all of them inherit: what they are."""
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                words = (path / "environ").read_bytes().split(b"\0")
                if f"{OF}={self.places.parent}".encode() in words:
                    found.append((path / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
        return found

    def ended(self, number: int, *, times: int = 1) -> tuple[int, str]:
        """Status and what it said, after a signal."""
        for _ in range(times):
            self.process.send_signal(number)
        _, said = self.process.communicate(timeout=GONE_S)
        return self.process.returncode, said


@pytest.fixture(autouse=True)
def _signals_as_at_a_terminal() -> Iterator[None]:
    """Who is started by ``nohup``, or as a job of a shell script, inherits signals that are ignored."""
    usual: dict[int, Any] = {
        signal.SIGINT: signal.default_int_handler,
        signal.SIGTERM: signal.SIG_DFL,
        signal.SIGHUP: signal.SIG_DFL,
    }
    before = {number: signal.signal(number, handler) for number, handler in usual.items()}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[str], Running]]:
    """Whatever it leaves is found by the test, and ended here."""
    made: list[Running] = []

    def begin(stand: str) -> Running:
        made.append(Running(tmp_path, stand))
        return made[-1]

    yield begin
    for running in made:
        running.process.kill()
        running.process.communicate()
        for folder in running.places.iterdir():
            end_marked(folder.name.rpartition("-")[2])


@pytest.mark.parametrize("phase", STANDS)
def test_an_interrupted_drill_ends_all_that_it_started(
    start: Callable[[str], Running], phase: str
) -> None:
    """At any phase: status 130, one line, no process and no file of it left."""
    running = start(STANDS[phase])
    running.until_it_stands()
    running.until_all_are_there()
    assert running.ended(signal.SIGINT) == (130, "binlog: interrupted\n")
    assert running.alive() == []
    assert list(running.places.iterdir()) == []
    [kept] = running.report.glob("*.json")
    result = decode_result(kept.read_bytes())
    assert (result.interrupted, result.passed) == (True, False)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_drill_whose_terminal_goes_away_ends_likewise(
    start: Callable[[str], Running], number: int
) -> None:
    """A laptop is closed, a job of CI runs out of time."""
    running = start(STANDS["given"])
    running.until_it_stands()
    assert running.ended(number, times=3) == (130, "binlog: interrupted\n")
    assert running.alive() == []
    assert list(running.places.iterdir()) == []


@pytest.mark.parametrize("phase", ["given", "command", "frozen"])
def test_of_a_drill_that_is_killed_nothing_goes_on(
    start: Callable[[str], Running], phase: str
) -> None:
    """SIGKILL, or the machine ran out of memory: nobody is left to clean up but the reaper."""
    running = start(STANDS[phase])
    running.until_it_stands()
    running.until_all_are_there()
    assert running.ended(signal.SIGKILL)[0] == -signal.SIGKILL
    until = time.monotonic() + GONE_S
    while left := [*running.alive(), *map(str, running.places.iterdir())]:
        assert time.monotonic() < until, left
        time.sleep(0.05)


@pytest.mark.parametrize("after_s", [0.15, 0.4, 0.7, 1.0])
def test_at_whatever_moment_it_is_interrupted_nothing_is_left(
    start: Callable[[str], Running], after_s: float
) -> None:
    """Also while Python is starting, a file is loaded, the folder is made."""
    running = start(STANDS["command"])
    time.sleep(after_s)
    status, _ = running.ended(signal.SIGINT, times=2)
    assert status in (130, -signal.SIGINT, 1)
    assert running.alive() == []
    assert list(running.places.iterdir()) == []


def test_a_script_that_exits_is_a_drill_that_failed(start: Callable[[str], Running]) -> None:
    """`sys.exit(0)` in its middle ended the whole run with status 0, and left everything."""
    running = start("sys.exit(0)")
    running.until_it_stands()
    out, said = running.process.communicate(timeout=GONE_S)
    assert running.process.returncode == 1, said
    assert "SystemExit: 0" in out
    assert running.alive() == []
    assert list(running.places.iterdir()) == []


# -- the parts -----------------------------------------------------------------------------------


def test_a_signal_is_heard_at_the_end_of_what_has_to_be_whole() -> None:
    """A process was started and is not written down yet: interrupted there, it would be nobody's."""
    done = []

    def interrupted(interrupts: Interrupts) -> None:
        interrupts.open()
        with interrupts.held():
            signal.raise_signal(signal.SIGINT)
            done.append("whole")
        done.append("more")

    with Interrupts() as interrupts, pytest.raises(KeyboardInterrupt):
        interrupted(interrupts)
    assert done == ["whole"]


def test_a_signal_is_raised_once_and_not_while_it_cleans_up() -> None:
    """Who asks twice is not to leave half of it running."""
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert interrupts.asked
        with pytest.raises(KeyboardInterrupt):
            interrupts.open()
        signal.raise_signal(signal.SIGTERM)
        interrupts.shut()
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


SLEEP = "import time; time.sleep(100)"


def test_only_what_bears_the_mark_is_ended() -> None:
    """Nothing of the user's is touched, not even what has a name like it."""
    environment = {**os.environ, VARIABLE: "one"}
    with (
        subprocess.Popen(["sleep", "100"], env=environment, start_new_session=True) as marked,
        subprocess.Popen(["sleep", "100"], env={**environment, VARIABLE: "one-two"}) as other,
        subprocess.Popen([sys.executable, "-c", SLEEP, f"{VARIABLE}=one"]) as named,
    ):
        try:
            assert end_marked("one") == [marked.pid]
            assert marked.wait(60) == -signal.SIGKILL
            assert (other.poll(), named.poll()) == (None, None)
        finally:
            for each in (marked, other, named):
                each.kill()
