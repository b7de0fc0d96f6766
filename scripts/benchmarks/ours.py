"""Our side of every contest, by the public ways of the project only."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import secrets
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

import uuid_utils

from appliers.address import open_store
from appliers.store import Reader, Store
from binlog.actions import build, build_many
from binlog.address import open_log
from binlog.clock import SystemClock
from binlog.cpus import share
from binlog.logs import create_directory_log
from binlog.params import Params
from binlog.producer import Acks, Producer, ProducerOptions
from binlog.values import decode_value
from scripts.benchmarks.workload import PARTITIONS, TABLE, Action, Items, in_batches
from snapshots.grouping import groups_of
from snapshots.rebuild import Wanted, fold_partitions
from snapshots.rebuild import rebuild as rebuild_tables

KIBIBYTES_PER_MEBIBYTE = 1024
BINLOG = [str(Path(sys.executable).with_name("binlog"))]
"""The installed command."""
_FILL_S = 3_600.0
_clock = SystemClock()


def init(path: Path) -> None:
    """A new, empty log."""
    create_directory_log(path, Params(log_id=secrets.token_hex(16), partitions=PARTITIONS))


def publish(path: Path, batches: list[list[Action]]) -> None:
    """Every batch in one commit; the last acknowledgement has come on return."""
    with contextlib.closing(open_log(f"file:{path}")) as log, Producer(log) as producer:
        for batch in batches:
            producer.append_many(build_many(batch, now_ms=_clock.now_ms(), new_id=_new_id))


def publish_singly(path: Path, actions: list[Action]) -> None:
    """Every action acknowledged before the next is published."""
    with contextlib.closing(open_log(f"file:{path}")) as log, Producer(log) as producer:
        for action in actions:
            producer.append_many(build(action, now_ms=_clock.now_ms(), new_id=_new_id))


def write_log(path: Path, actions: Iterable[Action], *, is_new: bool = True) -> None:
    """A log of the actions, as a producer makes it that always has something to send."""
    if is_new:
        init(path)
    options = ProducerOptions(linger_s=_FILL_S)  # a frame goes when it is full
    with (
        contextlib.closing(open_log(f"file:{path}")) as log,
        Producer(log, options=options) as producer,
    ):
        futures: deque[Future[Acks]] = deque()
        for batch in in_batches(actions, 5_000):
            envelopes = build_many(batch, now_ms=_clock.now_ms(), new_id=_new_id)
            futures.append(producer.publish_many(envelopes))
            while futures and futures[0].done():
                futures.popleft().result()
        producer.flush()
        for future in futures:
            future.result()


def replay(path: Path) -> Store:
    """The log into a store in memory, all checks on, in this process."""
    store = open_store("memory:")
    with contextlib.closing(open_log(f"file:{path}")) as log:
        rebuild_tables(log, store, Wanted())
    return store


def rebuild(path: Path, file: Path) -> None:
    """The log into a new SQLite store, with as many workers as there are CPUs."""
    with (
        contextlib.closing(open_log(f"file:{path}")) as log,
        contextlib.closing(open_store(f"sqlite:{file}")) as store,
    ):
        rebuild_tables(log, store, Wanted(), workers=os.cpu_count() or 1)


def items_of(store: Reader) -> Items:
    """What a store holds, for the oracle's digest."""
    rows = (row for _, row in store.scan(TABLE))
    items = (decode_value(row.data) for row in rows if row.data is not None)
    return {item["id"]: item for item in items}


def items_in(file: Path) -> Items:
    """What an SQLite store holds, for the oracle's digest."""
    with contextlib.closing(open_store(f"sqlite:{file}", must_exist=True)) as store:
        return items_of(store)


class Workers:
    """Started processes that have their part of the log to replay, and wait for the word."""

    def __init__(self, pipes: list[Connection]) -> None:
        self._pipes = pipes

    def replay(self) -> None:
        """Fold every partition; returns when the last one is done."""
        self._ask("replay")

    def items(self) -> Items:
        """What they hold together."""
        items: Items = {}
        for part in self._ask("items"):
            items.update(part)
        return items

    def _ask(self, word: str) -> list[Items]:
        for pipe in self._pipes:
            pipe.send(word)
        return [pipe.recv() for pipe in self._pipes]


@contextlib.contextmanager
def started_workers(path: Path, count: int) -> Iterator[Workers]:
    """`count` processes, started and ready, which share the log as so many workers of a rebuild do."""
    context = multiprocessing.get_context("fork")
    taken = context.Value("i", 0)
    with contextlib.closing(open_log(f"file:{path}")) as log:
        groups = groups_of(log, count)
    with contextlib.ExitStack() as stack:
        pipes: list[Connection] = []
        for _ in range(count):
            here, there = context.Pipe()
            pipes.append(here)
            process = context.Process(target=_work, args=(path, groups, taken, count, there, pipes))
            process.start()
            there.close()
            stack.callback(process.join)
            stack.callback(here.close)  # first: it is the word to go home
        for pipe in pipes:
            pipe.recv()
        yield Workers(pipes)


def _work(
    path: Path,
    groups: list[list[int]],
    taken: Synchronized[int],
    workers: int,
    pipe: Connection,
    inherited: list[Connection],
) -> None:
    """A worker's life: open the log, say so, then do as told until nobody tells any more."""
    for other in inherited:  # the parent's ends: while one is open here, its worker hears no end
        other.close()
    share(workers)
    with contextlib.closing(open_log(f"file:{path}")) as log, contextlib.suppress(EOFError):
        pipe.send({})
        pipe.recv()
        folds = []
        while (group := _take(groups, taken)) is not None:
            folds.append(fold_partitions(log, group, Wanted())[0])
        pipe.send({})
        pipe.recv()
        rows = (row for fold in folds for _, row in fold.rows(TABLE))
        items = (decode_value(row.data) for row in rows if row.data is not None)
        pipe.send({item["id"]: item for item in items})
        pipe.recv()


def _take(groups: list[list[int]], taken: Synchronized[int]) -> list[int] | None:
    with taken.get_lock():
        taken.value += 1
        return groups[taken.value - 1] if taken.value <= len(groups) else None


def _new_id() -> str:
    return str(uuid_utils.uuid7())


# Run by a process of its own, a small one: a child's peak begins with that of the process that
# forks it, and the benchmark's own is larger than what is to be measured.
_WAIT = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def rebuild_in_a_child(path: Path, store: Path) -> float:
    """`binlog rebuild` in a process of its own: its peak resident memory in MiB."""
    command = [*BINLOG, "rebuild", f"file:{path}", f"sqlite:{store}", "--workers", "1", "--json"]
    waiting = [sys.executable, "-I", "-S", "-c", _WAIT, *command]
    done = subprocess.run(waiting, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return int(done.stdout.splitlines()[-1]) / KIBIBYTES_PER_MEBIBYTE
