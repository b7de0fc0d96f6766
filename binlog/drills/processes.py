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

from binlog.drills.interrupts import Interrupts
from binlog.drills.reaper import VARIABLE, end_marked
from binlog.errors import StorageError

COMMAND_S_MAX = 60.0
END_S = 10.0
ENDED_AS_ASKED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)
OURS = "binlog"


class Ended(msgspec.Struct, frozen=True):
    """A command that ended; ``status`` is negative for a signal."""

    status: int
    seconds: float
    stdout: str
    stderr: str


class Background:
    """One that goes on: killed, frozen, thawed, ended."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], said: Path) -> None:
        self.name = name
        self._process = process
        self._said = said
        self._frozen = False
        self._is_wanted = True
        self.trouble: str | None = None  # how it ended, if not as it should

    @property
    def pid(self) -> int:
        """Of its session, too."""
        return self._process.pid

    @property
    def state(self) -> str:
        """``running``, ``frozen`` or ``ended with N``."""
        status = self._process.poll()
        if status is not None:
            return f"ended with {status}"
        return "frozen" if self._frozen else "running"

    def said(self) -> str:
        """Its output so far, the last of it."""
        return self._said.read_text(errors="replace")[-4_000:]

    @property
    def last_line(self) -> str:
        """Of its output."""
        return (self.said().strip().splitlines() or ["it said nothing"])[-1]

    @property
    def has_died(self) -> bool:
        """It ended by itself, and nobody asked it to."""
        return self._is_wanted and self._process.poll() is not None

    def forgive(self) -> None:
        """That it has ended by itself is as it should be."""
        self._is_wanted = self._is_wanted and self._process.poll() is None

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started."""
        self._note_death()
        self._is_wanted = False
        self._signal(signal.SIGKILL)
        self._process.wait(END_S)

    def freeze(self) -> None:
        """It stands still, and knows nothing of it."""
        self._signal(signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """It goes on where it was."""
        self._frozen = False
        self._signal(signal.SIGCONT)

    def end(self) -> int:
        """As an operator ends it, SIGTERM first; its exit status. Another one than 0 is `trouble`."""
        self._note_death()
        is_asked, self._is_wanted = self._is_wanted, False
        if self._process.poll() is None:
            if self._frozen:
                self.thaw()
            self._signal(signal.SIGTERM)
            try:
                status = self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()
                self.trouble = f"{self.name} did not end on SIGTERM in {END_S:.0f} s"
            else:
                if is_asked and status not in ENDED_AS_ASKED:
                    self.trouble = f"{self.name} ended with {status} on SIGTERM: {self.last_line}"
        return self._process.wait(END_S)

    def _note_death(self) -> None:
        if self.has_died and self.trouble is None:
            self.trouble = f"{self.name} {self.state} by itself: {self.last_line}"

    def _signal(self, number: int) -> None:
        # Of one that was waited for, the number may be another one's by now.
        if self._process.poll() is None:
            _signal(self.pid, number)


class Processes:
    """All of one drill; ended with the block, whatever happens in it."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        mark: str,
        interrupts: Interrupts | None = None,
    ) -> None:
        self._folder = folder
        self.environment = dict(environment)
        self._mark = mark
        self.interrupts = interrupts or Interrupts()
        self._open: list[Background] = []
        self._waited: subprocess.Popen[bytes] | None = None
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
                    self._waited = self._start(words, stdout, stderr)
                status = self._waited.wait(seconds_max)
            except subprocess.TimeoutExpired as error:
                what = f"it has not ended after {seconds_max:.0f} s"
                raise StorageError(what, " ".join(words), "look at what it waits for") from error
            finally:
                self._end_waited()
        seconds = time.monotonic() - began
        said = (path.read_text("utf-8", errors="replace") for path in (out, err))
        return Ended(status, seconds, *said)

    def start(self, name: str, words: Sequence[str]) -> Background:
        """Start a command that goes on."""
        _, said = self._files()
        with said.open("wb") as file, self.interrupts.held():
            started = Background(name, self._start(words, file, file), said)
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
        self, words: Sequence[str], stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "binlog.cli", *words[1:]] if words[0] == OURS else list(words)
        return subprocess.Popen(
            argv,
            cwd=self._folder,
            env={**self.environment, VARIABLE: self._mark},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def _end_waited(self) -> None:
        process, self._waited = self._waited, None
        if process is not None and process.poll() is None:
            _signal(process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_S)

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
