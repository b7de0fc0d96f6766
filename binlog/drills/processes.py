"""Processes that a drill starts: commands it waits for, and those that run beside it.

Each has a session of its own, so that Ctrl-C in a terminal reaches the drill alone, which then ends
them all, by process id, and each with what it has started itself.
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

from binlog.errors import StorageError

COMMAND_S_MAX = 60.0
END_S = 10.0
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
    def has_died(self) -> bool:
        """It ended by itself, and nobody asked it to."""
        return self._is_wanted and self._process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started."""
        self._is_wanted = False
        _signal(self.pid, signal.SIGKILL)
        self._process.wait(END_S)

    def freeze(self) -> None:
        """It stands still, and knows nothing of it."""
        _signal(self.pid, signal.SIGSTOP)
        self._frozen = True

    def thaw(self) -> None:
        """It goes on where it was."""
        self._frozen = False
        _signal(self.pid, signal.SIGCONT)

    def end(self) -> int:
        """As an operator ends it, SIGTERM first; its exit status."""
        self._is_wanted = False
        if self._process.poll() is None:
            if self._frozen:
                self.thaw()
            _signal(self.pid, signal.SIGTERM)
            try:
                self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()
        return self._process.wait(END_S)


class Processes:
    """All of one drill; ended with the block, whatever happens in it."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self.environment = dict(environment)
        self._open: list[Background] = []
        self._waited: subprocess.Popen[bytes] | None = None
        self._count = 0

    def run(self, words: Sequence[str], *, seconds_max: float = COMMAND_S_MAX) -> Ended:
        """Run a command to its end; ``binlog`` is this installation's.

        Raises:
            StorageError: it does not end.
        """
        began = time.monotonic()
        out, err = self._files()
        with out.open("wb") as stdout, err.open("wb") as stderr:
            self._waited = self._start(words, stdout, stderr)
            try:
                status = self._waited.wait(seconds_max)
            except subprocess.TimeoutExpired as error:
                what = f"it has not ended after {seconds_max:.0f} s"
                raise StorageError(what, " ".join(words), "look at what it waits for") from error
            finally:
                self._end_waited()
        seconds = time.monotonic() - began
        return Ended(status, seconds, out.read_text("utf-8"), err.read_text("utf-8"))

    def start(self, name: str, words: Sequence[str]) -> Background:
        """Start a command that goes on."""
        _, said = self._files()
        with said.open("wb") as file:
            process = self._start(words, file, file)
        started = Background(name, process, said)
        self._open.append(started)
        return started

    def check(self) -> None:
        """Whether all that goes on still does.

        Raises:
            StorageError: one ended by itself; with the last line that it said.
        """
        for each in self._open:
            if each.has_died:
                last = (each.said().strip().splitlines() or ["it said nothing"])[-1]
                what = f"{each.name} {each.state} by itself: {last}"
                raise StorageError(what, f"process {each.pid}", "look at what it said")

    def last_words(self) -> list[str]:
        """What each that goes on said last, for who wonders why nothing came of it."""
        return [
            f"{each.name} ({each.state}): {(each.said().strip().splitlines() or ['nothing'])[-1]}"
            for each in self._open
        ]

    def end_all(self) -> list[str]:
        """End everything; the names of what was still running."""
        self._end_waited()
        ended = []
        for each in self._open:
            if not each.state.startswith("ended"):
                ended.append(each.name)
                with contextlib.suppress(ProcessLookupError):
                    each.kill()
        self._open.clear()
        return ended

    def _start(
        self, words: Sequence[str], stdout: IO[bytes], stderr: IO[bytes]
    ) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "binlog.cli", *words[1:]] if words[0] == OURS else list(words)
        return subprocess.Popen(
            argv,
            cwd=self._folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )

    def _end_waited(self) -> None:
        process, self._waited = self._waited, None
        if process is not None and process.poll() is None:
            _signal(process.pid, signal.SIGKILL)
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
