"""Our side of what brings a table back: snapshots, archives, and rebuilds from both."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import msgspec

from appliers.address import open_store
from binlog.address import open_log
from binlog.objects import open_objects
from binlog.target import Target
from binlog.vector import Vector
from scripts.benchmarks.ours import BINLOG, KIBIBYTES_PER_MEBIBYTE, items_of
from scripts.benchmarks.workload import Items
from snapshots.rebuild import Report, Wanted, rebuild
from snapshots.snapshot_take import take_snapshot
from snapshots.starting import starting

TAIL = 0.01
"""The share of the events that a snapshot lacks."""


class Kept(msgspec.Struct, frozen=True):
    """A log, and snapshots of what it was before its tail."""

    log: Path
    snapshots: Path
    tail_events: int


def take(log: Path, folder: Path) -> Kept:
    """A snapshot of the log's table as it was before the last hundredth of each partition."""
    with contextlib.closing(open_log(f"file:{log}")) as opened:
        end = _rebuild(opened, Wanted())[0].vector
        vector: Vector = {p: int(offset * (1 - TAIL)) for p, offset in end.items()}
        with contextlib.closing(open_store(f"sqlite:{folder}.sqlite")) as store:
            rebuild(opened, store, Wanted(target=Target(vector=vector)))
            take_snapshot(store, open_objects(f"file:{folder}"))
    return Kept(log, folder, sum(end.values()) - sum(vector.values()))


def _rebuild(log: object, wanted: Wanted) -> tuple[Report, None]:
    with contextlib.closing(open_store("memory:")) as store:
        return rebuild(log, store, wanted), None  # type: ignore[arg-type]


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
