"""Our side of every contest, by the public ways of the project only."""

# ruff: noqa: ARG001 - until the parts are there
from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Protocol

from scripts.benchmarks.measure import UnavailableError
from scripts.benchmarks.workload import Action, History, Items

KIBIBYTES_PER_MEBIBYTE = 1024
BINLOG = [str(Path(sys.executable).with_name("binlog"))]
"""The installed command."""
_NOT_YET = "not built yet"


class Workers(Protocol):
    """Started processes that have their part of the log to replay, and wait for the word."""

    def replay(self) -> None:
        """Fold every partition; returns when the last one is done."""

    def items(self) -> Items:
        """What they hold together."""


def init(path: Path) -> None:
    """A new, empty log."""
    raise UnavailableError(_NOT_YET)


def publish(path: Path, batches: list[list[Action]]) -> None:
    """Every batch in one commit; the last acknowledgement has come on return."""
    raise UnavailableError(_NOT_YET)


def publish_singly(path: Path, actions: list[Action]) -> None:
    """Every action acknowledged before the next is published."""
    raise UnavailableError(_NOT_YET)


def write_log(path: Path, spec: History) -> None:
    """A log of the history, as a producer makes it that always has something to send."""
    raise UnavailableError(_NOT_YET)


def replay(path: Path) -> Any:
    """The log into a store in memory, all checks on, in this process."""
    raise UnavailableError(_NOT_YET)


def rebuild(path: Path, store: Path) -> None:
    """The log into a new SQLite store, with as many workers as there are CPUs."""
    raise UnavailableError(_NOT_YET)


def items_of(replica: Any) -> Items:
    """What a store in memory holds, for the oracle's digest."""
    raise UnavailableError(_NOT_YET)


def items_in(store: Path) -> Items:
    """What an SQLite store holds, for the oracle's digest."""
    raise UnavailableError(_NOT_YET)


def started_workers(path: Path, count: int) -> contextlib.AbstractContextManager[Workers]:
    """`count` processes, started and ready."""
    raise UnavailableError(_NOT_YET)


def rebuild_in_a_child(path: Path, store: Path) -> float:
    """`binlog rebuild` in a process of its own: its peak resident memory in MiB."""
    command = [*BINLOG, "rebuild", f"file:{path}", f"sqlite:{store}", "--workers", "1"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as child:
        errors = child.stderr.read() if child.stderr else b""
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)}: {errors.decode(errors='replace')}")
    return usage.ru_maxrss / KIBIBYTES_PER_MEBIBYTE
