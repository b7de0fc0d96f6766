"""A command that goes on beside the drill, with all the processes that it has started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from binlog.drills.family import Member, freeze_all, kill_all, members, signal_all
from binlog.drills.steps import StepKind
from binlog.errors import StorageError

KILL_S = 30.0
END_S = 60.0  # a consumer of the KCL ends its daemon, which ends its children
ENDED_AS_ASKED = (0, -signal.SIGTERM, 128 + signal.SIGTERM)


class Process(Protocol):
    """Of `subprocess.Popen`, as much as is needed."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...


class Background:
    """Killed, frozen, thawed, ended; in whole, or a process of it. ``mark`` is of this command alone."""

    def __init__(self, name: str, process: Process, said: Path, *, mark: str) -> None:
        self.name = name
        self._process = process
        self._said = said
        self._mark = mark
        self._frozen = False
        self._is_wanted = True
        self.trouble: str | None = None  # how it ended, if not as it should
        self.when_over: Callable[[StepKind], None] = lambda _: None  # the drill ended or killed it

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

    @property
    def has_ended(self) -> bool:
        """It, and not what it may have left behind."""
        return self._process.poll() is not None

    def said(self) -> str:
        """Its output so far, the last of it; why it cannot be read, if somebody removed the folder."""
        try:
            return self._said.read_text(errors="replace")[-4_000:]
        except OSError as error:
            return f"its output cannot be read: {error.strerror}"

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

    def members(self) -> list[Member]:
        """All its processes that live: its own, those it has started, and so on."""
        return members(self._group, self._mark)

    def kill(self) -> None:
        """SIGKILL, to it and to what it has started, whatever sessions those have."""
        if not self.has_ended:
            self.when_over("killed")
        self._note_death()
        self._is_wanted = False
        kill_all(self._group, self._mark, seconds=KILL_S)
        self._process.wait(KILL_S)

    def kill_part(self, word: str) -> int:
        """SIGKILL to the first of its processes whose command line has the word; its number, or 0."""
        for member in self.members():
            if word in member.command:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(member.pid, signal.SIGKILL)
                return member.pid
        return 0

    def freeze(self) -> None:
        """All of it stands still, and knows nothing of it: on return it does.

        Raises:
            StorageError: it does not.
        """
        if not freeze_all(self._group, self._mark, seconds=KILL_S):
            raise StorageError("it does not stand still", f"process {self.pid}", "look at it")
        self._frozen = True

    def thaw(self) -> None:
        """It goes on where it was."""
        self._frozen = False
        signal_all(self._group, self._mark, signal.SIGCONT)

    def end(self, *, or_ended: bool = False) -> int:
        """As an operator ends it, SIGTERM first; its exit status. Another one than 0 is `trouble`.

        ``or_ended``: it may have ended by itself, or be about to, with whatever status.
        """
        self._is_wanted = self._is_wanted and not or_ended
        self._note_death()
        is_asked, self._is_wanted = self._is_wanted, False
        if self._process.poll() is None:
            self.when_over("ended")
            if self._frozen:
                self.thaw()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGTERM)
            try:
                status = self._process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.kill()
                self.trouble = f"{self.name} did not end on SIGTERM in {END_S:.0f} s"
            else:
                if is_asked and status not in ENDED_AS_ASKED:
                    self.trouble = f"{self.name} ended with {status} on SIGTERM: {self.last_line}"
        return self._process.wait(KILL_S)

    @property
    def _group(self) -> int:
        """The number of its group; of one that was waited for it may be another's by now."""
        return self.pid if self._process.poll() is None else -1

    def _note_death(self) -> None:
        if self.has_died and self.trouble is None:
            self.trouble = f"{self.name} {self.state} by itself: {self.last_line}"
