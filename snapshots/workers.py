"""Tasks in forked processes, which end with the one that began them, whatever way it ends.

Forked, so that a task may use what cannot be pickled (rules made of local functions, an open log);
only results travel. Safe only while the parent has no other thread: see `can_fork`.

* An error in a worker is raised here and ends the others.
* Ctrl-C ends the workers at once, and so does any other way out of `run_forked`. While a process is
  forked it waits: what Python calls around a fork drops every exception, also that of Ctrl-C.
* A parent that is killed takes its workers along: they watch for its end.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import connection
from typing import Any, TypeAlias, TypeVar

from binlog.cpus import share
from binlog.errors import BinlogError, StorageError

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")

Advance: TypeAlias = Callable[[int, int], None]
"""Two counts, each a task's own total so far."""

_POLL_S = 0.2

_job: tuple[Callable[..., Any], Any] | None = None  # in a worker: the function, shared counters


def can_fork() -> bool:
    """Whether this process has no thread that might hold a lock while it is copied."""
    return threading.active_count() == 1


def run_forked(
    function: Callable[[_Task, Advance], _Result],
    tasks: Sequence[_Task],
    *,
    workers: int,
    name: str,
    progress: Callable[[int, int], None] | None = None,
) -> list[_Result]:
    """The results of ``function`` for each task, in the order of the tasks.

    Tasks and results travel by pickle, the function by inheritance. ``progress`` is called here
    with the sums of what the tasks told their `Advance`, a few times a second.

    Raises:
        StorageError: a worker was killed; ``name`` says of what.
        Exception: what a task raised.
    """
    context = multiprocessing.get_context("fork")
    counters = context.Array("q", 2)
    others = set(multiprocessing.active_children())
    with ProcessPoolExecutor(
        workers,
        context,
        initializer=_start_worker,
        initargs=(function, counters, min(workers, len(tasks))),
    ) as pool:
        try:
            with _ctrl_c_waits():  # the first one forks them all
                futures = [pool.submit(_run_task, task) for task in tasks]
            return _collect(futures, counters, progress)
        except BrokenProcessPool as error:
            raise StorageError(
                "a worker process was killed before its work was done", name, "run it again"
            ) from error
        except BaseException:
            for child in set(multiprocessing.active_children()) - others:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def _ctrl_c_waits() -> Iterator[None]:
    """It comes at the end instead. Processes that are forked meanwhile have to let it in again."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _collect(
    futures: Sequence[Future[_Result]],
    counters: Any,
    progress: Callable[[int, int], None] | None,
) -> list[_Result]:
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, timeout=_POLL_S, return_when="FIRST_EXCEPTION")
        if progress is not None:
            progress(*counters)
        if any(future.exception() for future in done):
            break
    errors = [e for future in futures if future.done() and (e := future.exception())]
    for error in sorted(errors, key=_place):
        raise error
    return [future.result() for future in futures]


def _place(error: BaseException) -> tuple[int, int]:
    """By partition and offset where known, so that of several the same is named each time."""
    details = error.details if isinstance(error, BinlogError) else {}
    partition, offset = details.get("partition"), details.get("offset")
    return (
        partition if isinstance(partition, int) else 1 << 32,
        offset if isinstance(offset, int) else 1 << 62,
    )


# -- in a worker ---------------------------------------------------------------------------------


def _start_worker(function: Callable[..., Any], counters: Any, workers: int) -> None:
    global _job  # noqa: PLW0603 (how a pool hands over what cannot be pickled: by inheritance)
    _job = function, counters
    share(workers)
    # Ctrl-C reaches the whole group; what is to be said about it the parent says.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see `_ctrl_c_waits`
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)


def _run_task(task: Any) -> Any:
    assert _job is not None
    function, counters = _job
    seen = [0, 0]

    def advance(*totals: int) -> None:
        with counters.get_lock():
            for index, total in enumerate(totals):
                counters[index] += total - seen[index]
        seen[:] = totals

    return function(task, advance)
