"""Processes that a drill starts: commands it waits for, and those that run beside it.

Each has a session of its own, so that Ctrl-C in a terminal reaches the drill alone, which then ends
them all, by process id, and each with what it has started itself. What has made a session of its own
is found by the drill's mark; see `binlog.drills.reaper`, which does so if the drill is killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

import msgspec

from binlog.drills.background import Background
from binlog.drills.child import Child
from binlog.drills.family import VARIABLE as FAMILY
from binlog.drills.interrupts import Interrupts
from binlog.drills.reaper import VARIABLE, end_marked
from binlog.drills.result import Spent
from binlog.drills.spending import Spending
from binlog.errors import StorageError

COMMAND_S_MAX = 180.0  # it is there for what never ends: a goal says what may take how long
END_S = 10.0
# Of this installation, wherever it is run from.
OURS = {"binlog": "binlog.cli", "scripts/stack": "scripts.standins.stack"}


class Ended(msgspec.Struct, frozen=True):
    """A command that ended; ``status`` is negative for a signal."""

    status: int
    seconds: float
    stdout: str
    stderr: str
    spent: Spent = Spent()


class Processes:
    """All of one drill; ended with the block, whatever happens in it."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        mark: str,
        interrupts: Interrupts | None = None,
        spending: Spending | None = None,
    ) -> None:
        self._folder = folder
        self.environment = dict(environment)
        self._mark = mark
        self.interrupts = interrupts or Interrupts()
        self._spending = spending or Spending(folder)
        self._open: list[Background] = []
        self._waited: Child | None = None
        self._count = 0

    def run(self, words: Sequence[str], *, more_s: float = 0.0) -> Ended:
        """Run a command to its end; ``binlog`` is this installation's. ``more_s``: it may take so long besides.

        Raises:
            StorageError: it does not end.
        """
        seconds_max = COMMAND_S_MAX + more_s
        began = time.monotonic()
        out, err = self._files()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            try:
                with self.interrupts.held():
                    process = self._waited = self._start(words, stdout, stderr)
                status = process.wait(seconds_max)
            except subprocess.TimeoutExpired as error:
                what = f"it has not ended after {seconds_max:.0f} s"
                raise StorageError(what, " ".join(words), "look at what it waits for") from error
            finally:
                self._end_waited()
        seconds = time.monotonic() - began
        stdout_text, stderr_text = (
            path.read_text("utf-8", errors="replace") for path in (out, err)
        )
        return Ended(status, seconds, stdout_text, stderr_text, self._spending.of(process.meter))

    def start(
        self, name: str, words: Sequence[str], variables: Mapping[str, str] | None = None
    ) -> Background:
        """Start a command that goes on; ``variables`` are its own."""
        _, said = self._files()
        mark = f"{self._mark}-{self._count}"
        more = {**(variables or {}), FAMILY: mark}
        with said.open("wb") as file, self.interrupts.held():
            started = Background(name, self._start(words, file, file, more), said, mark=mark)
            self._open.append(started)
        return started

    def check(self) -> None:
        """Whether all that goes on still does.

        Raises:
            StorageError: one ended by itself; with the last line that it said.
        """
        for each in self._open:
            if each.has_died:
                what = f"{each.name} {each.state} by itself: {each.last_line}"
                raise StorageError(what, f"process {each.pid}", "look at what it said")

    def check_ends(self) -> None:
        """`check`, and that those which were ended did so as they should.

        Raises:
            StorageError: one did not.
        """
        self.check()
        for each in self._open:
            if each.trouble is not None:
                raise StorageError(each.trouble, f"process {each.pid}", "look at what it said")

    def forgive(self) -> None:
        """Those that have ended by themselves up to now were to do so."""
        for each in self._open:
            each.forgive()

    @property
    def go_on(self) -> bool:
        """Whether any of them is at work."""
        return any(each.state == "running" for each in self._open)

    def last_words(self) -> list[str]:
        """What each that goes on said last, for who wonders why nothing came of it."""
        return [f"{each.name} ({each.state}): {each.last_line}" for each in self._open]

    def end_all(self) -> list[str]:
        """End everything; the names of what was still running."""
        self._end_waited()
        ended = []
        for each in self._open:
            if not each.state.startswith("ended"):
                ended.append(each.name)
                with contextlib.suppress(subprocess.TimeoutExpired):  # the others have to go, too
                    each.kill()
        self._open.clear()
        ended += [f"process {pid}, of another session" for pid in end_marked(self._mark)]
        return ended

    def _start(
        self,
        words: Sequence[str],
        stdout: IO[bytes],
        stderr: IO[bytes],
        more: Mapping[str, str] | None = None,
    ) -> Child:
        said = {Path(stdout.name), Path(stderr.name)}
        ours = OURS.get(words[0])
        return Child(
            [sys.executable, "-m", ours, *words[1:]] if ours else words,
            folder=self._folder,
            environment={
                **self.environment,
                **self._own(),
                **(more or {}),
                VARIABLE: self._mark,
            },
            stdout=stdout,
            stderr=stderr,
            meter=self._spending.meter(words, *said),
        )

    def _end_waited(self) -> None:
        process, self._waited = self._waited, None
        if process is not None and process.poll() is None:
            _signal(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)

    def _own(self) -> dict[str, str]:
        """Where commands keep what is theirs alone: one that is killed leaves it, and it goes with the folder."""
        folder = self._folder / ".tmp"
        folder.mkdir(exist_ok=True)
        return {"TMPDIR": str(folder), "XDG_STATE_HOME": str(self._folder / "state")}

    def _files(self) -> tuple[Path, Path]:
        self._count += 1
        folder = self._folder / ".said"
        folder.mkdir(exist_ok=True)
        return folder / f"{self._count}.out", folder / f"{self._count}.err"


def _signal(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def nobodys_environment() -> dict[str, str]:
    """The shell's, without addresses and credentials: a drill touches nothing of the user's."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "BINLOG_"))
    }
    # Wherever this code was imported from, the commands are the same.
    root = str(Path(__file__).resolve().parents[2])
    path = [root, *filter(None, kept.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **kept,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(path)),
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "NO_COLOR": "1",
        "COLUMNS": "120",
    }
