"""The processes of one consumer: what a command has started, and what that has started in turn.

A supervisor's daemon has a session of its own and is not ended with it, so a process group is not
enough: each command has a mark in its environment, which its children inherit. Who makes their
environment from nothing stays in the group (Lambda's runtime does so with a function). Where there
is no ``/proc`` the group is all that is known.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VARIABLE = "DRILL_COMMAND"  # no BINLOG_..: a function refuses what it does not know
_PROC = Path("/proc")
_PAUSE_S = 0.02


class Member(NamedTuple):
    """A process, the command line that it was started by, and whether it stands still."""

    pid: int
    command: str
    stopped: bool = False


def members(group: int, mark: str) -> list[Member]:
    """Those that live, the group's leader first. A group below 0 is none: its leader is gone."""
    found = [member for pid in _pids() if (member := _member(pid, group, mark)) is not None]
    return sorted(found, key=lambda member: (member.pid != group, member.pid))


def signal_all(group: int, mark: str, number: int) -> list[Member]:
    """Send it to all of them, each once; to whom. The group gets it even without ``/proc``."""
    if group > 0:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, number)
    outside = [member for member in members(group, mark) if _group_of(member.pid) != group]
    for member in outside:
        with contextlib.suppress(ProcessLookupError):
            os.kill(member.pid, number)
    return outside


def kill_all(group: int, mark: str, *, seconds: float) -> bool:
    """Kill them, and what they start meanwhile; whether all are gone."""
    until = time.monotonic() + seconds
    while True:
        signal_all(group, mark, signal.SIGKILL)
        if not members(group, mark):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)


def freeze_all(group: int, mark: str, *, seconds: float) -> bool:
    """SIGSTOP, and on return all of them stand still; whether they do."""
    until = time.monotonic() + seconds
    while True:
        signal_all(group, mark, signal.SIGSTOP)
        if all(member.stopped for member in members(group, mark)):
            return True
        if time.monotonic() > until:
            return False
        time.sleep(_PAUSE_S)


def _pids() -> Iterator[int]:
    with contextlib.suppress(OSError):
        for folder in _PROC.iterdir():
            if folder.name.isdecimal():
                yield int(folder.name)


def _member(pid: int, group: int, mark: str) -> Member | None:
    folder = _PROC / str(pid)
    try:
        # The program's name, in parentheses, may hold anything.
        fields = (folder / "stat").read_text(errors="replace").rpartition(")")[2].split()
        if fields[0] in "ZX" or pid == os.getpid():
            return None
        if int(fields[2]) != group:
            words = (folder / "environ").read_bytes().split(b"\0")
            if f"{VARIABLE}={mark}".encode() not in words:
                return None
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ")
    except OSError:  # it has ended, or is somebody else's
        return None
    return Member(pid, command.decode(errors="replace").strip(), fields[0] == "T")


def _group_of(pid: int) -> int:
    with contextlib.suppress(ProcessLookupError):
        return os.getpgid(pid)
    return 0
