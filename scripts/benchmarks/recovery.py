"""Our side of what brings a table back: snapshots, archives, and rebuilds from both."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from itertools import islice
from pathlib import Path

import msgspec

from appliers.address import open_store
from binlog.address import open_log
from binlog.objects import open_objects
from scripts.benchmarks.ours import BINLOG, KIBIBYTES_PER_MEBIBYTE, items_of, write_log
from scripts.benchmarks.workload import History, Items
from snapshots.rebuild import Wanted, rebuild
from snapshots.snapshot_take import take_snapshot
from snapshots.starting import starting

TAIL = 0.01
"""The share of the events that a snapshot lacks."""


class Kept(msgspec.Struct, frozen=True):
    """A log, and snapshots of what it was before its tail."""

    log: Path
    snapshots: Path
    tail_events: int


def keep(log: Path, folder: Path, spec: History) -> Kept:
    """A log of the history, and a snapshot of what its table was before the last hundredth.

    The log is written in two goes, and the snapshot taken between them.
    """
    tail = int(spec.events * TAIL)
    actions = iter(spec)
    write_log(log, islice(actions, spec.events - tail))
    with (
        contextlib.closing(open_log(f"file:{log}")) as opened,
        contextlib.closing(open_store(f"sqlite:{folder}.sqlite")) as store,
    ):
        rebuild(opened, store, Wanted())
        take_snapshot(store, open_objects(f"file:{folder}"))
    write_log(log, actions, is_new=False)
    return Kept(log, folder, tail)


def rebuild_from_snapshot(kept: Kept, file: Path) -> None:
    """As the verb does it: the catalogue is read, a start chosen, its rows taken, the tail folded."""
    with (
        contextlib.closing(open_log(f"file:{kept.log}")) as log,
        contextlib.closing(open_objects(f"file:{kept.snapshots}")) as objects,
        contextlib.closing(open_store(f"sqlite:{file}")) as store,
    ):
        begin = starting(log, objects, Wanted())
        if begin.base is None:
            raise RuntimeError(f"no snapshot was taken: {begin.plan.not_taken}")
        report = rebuild(log, store, Wanted(), base=begin.base)
        if report.counts.events != kept.tail_events:
            raise RuntimeError(f"{report.counts.events} events read, not {kept.tail_events}")


def rebuild_from_the_beginning(log: Path, file: Path) -> None:
    """All events, by one worker as the other."""
    with (
        contextlib.closing(open_log(f"file:{log}")) as opened,
        contextlib.closing(open_store(f"sqlite:{file}")) as store,
    ):
        rebuild(opened, store, Wanted())


def items_at(file: Path) -> Items:
    """What an SQLite store holds."""
    with contextlib.closing(open_store(f"sqlite:{file}", must_exist=True)) as store:
        return items_of(store)


# Run by a process of its own, a small one: a child's peak begins with that of the process that
# forks it, and the benchmark's own is larger than what is to be measured.
_WAIT = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_of(*arguments: str) -> float:
    """A verb in a process of its own: its peak resident memory in MiB."""
    command = [*BINLOG, *arguments]
    waiting = [sys.executable, "-I", "-S", "-c", _WAIT, *command]
    done = subprocess.run(waiting, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return int(done.stdout.splitlines()[-1]) / KIBIBYTES_PER_MEBIBYTE
