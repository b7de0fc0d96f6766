"""Many runs of the world, one seed after the other, on several cores: what was met, what broke.

Seeds are counted up from a first one and judged in their order, whatever finishes when: the
violation that is reported is that of the lowest seed, on any number of cores. Of time, only how many
runs there are may depend on it.
"""

from __future__ import annotations

import signal
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing import get_context, resource_tracker
from typing import Protocol

import msgspec

from appliers.applier import NO_RULES
from binlog.testing.finding import as_test, as_violation, same_finding
from binlog.testing.shrink import shortest
from binlog.testing.violation import Violation
from binlog.testing.world.domain import CARTS
from binlog.testing.world.endless import LAW, ending
from binlog.testing.world.seeded import (
    Step,
    happen,
    parse_seed,
    play,
    run,
    seed_text,
    steps_of,
)
from binlog.testing.world.world import World

RUN_CPU_S = 60.0
"""A run that takes longer has no end: it is a thousand times the usual."""
TRY_CPU_S = 2.0  # the same, of one whose story is to be made shorter
ENDLESS_CALLS_MAX = 100
BATCH_RUNS = 10  # that a core takes at once: half a second
RARE_AFTER_RUNS = 200
RARE = {
    **dict.fromkeys(
        (
            "UNKNOWN",
            "FAILED",
            "killed",
            "forgotten family",
            "emitted again",
            "id_reused",
            "duplicate",
            "copies",
            "ghost landed",
            "closed",
            "held",
            "expired",
            "resharded in the middle",
            "damaged",
            "halted",
            "resolved",
            "skipped",
            "consumer crashed",
            "broken in the middle of a commit",
            "commit timed out",
            "reply lost",
            "condition failed",
            "stale read",
            "zombie write",
            "rejected expectation",
            "tombstone",
            "poison",
            "rebuilt",
            "rebuilt elsewhere",
            "rebuilt generation lost by the old consumer",
            "strays",
            "undecodable: skip",
            "hold-bound: hold",
            "expired-held: accept",
            "expired-held: drop",
        ),
        RARE_AFTER_RUNS,
    ),
    "hold-bound: gap": 2_000,
    "hold-bound: skip": 2_000,
    "given_up_late": 2_000,
    "rebuild halted": 5_000,
}
"""What has to be met, and in how many runs at the latest (invariant 24)."""
FAULTS = (
    "duplicate",
    "lose reply",
    "late",
    "lose",
    "throttle",
    "found later",
    "killed",
    "forgotten family",
    "emitted again",
    "resharded",
    "damaged",
    "strays",
    "consumer crashed",
    "commit timed out",
    "stale read",
    "zombie stepped",
    "rebuilt",
)
"""What was done to the system; the rest of `RARE` is what came of it."""


class Batch(msgspec.Struct):
    """What came of some seeds in a row. ``broken`` is the first that broke a law."""

    runs: int = 0
    events: int = 0
    met: Counter[str] = msgspec.field(default_factory=Counter)
    cpu_s: float = 0.0
    broken: int | None = None


@dataclass
class Totals:
    """What came of all of them so far, in the order of seeds."""

    first: int
    runs: int = 0
    events: int = 0
    met: Counter[str] = field(default_factory=Counter)
    cpu_s: float = 0.0  # of all cores together
    seconds: float = 0.0
    broken: int | None = None
    interrupted: bool = False

    def add(self, batch: Batch) -> None:
        self.runs += batch.runs
        self.events += batch.events
        self.met += batch.met
        self.cpu_s += batch.cpu_s
        self.broken = batch.broken

    @property
    def events_per_cpu_s(self) -> float:
        """A core's: CPU time is counted, so that a busy machine is no slower one."""
        return self.events / self.cpu_s if self.cpu_s else 0.0

    @property
    def last_seed(self) -> str:
        return seed_text(self.first + max(0, self.runs - 1))

    @property
    def missing(self) -> list[str]:
        """What was not met although there were runs enough to meet it."""
        return [name for name, runs in RARE.items() if self.runs >= runs and not self.met[name]]


class Progress(Protocol):
    """Is called with the totals so far."""

    def __call__(self, totals: Totals, /) -> None: ...


def soak(
    first: int,
    *,
    runs: int | None = None,
    seconds: float | None = None,
    jobs: int = 2,
    progress: Progress | None = None,
) -> Totals:
    """Run seeds from ``first`` on, until there were ``runs`` or ``seconds`` are over.

    It ends at the first violation, and at Ctrl-C with what was done so far. With one job everything
    runs in this process.
    """
    started = time.monotonic()
    totals = Totals(first)

    def is_over() -> bool:
        return seconds is not None and time.monotonic() - started >= seconds

    batches = _batches(first, runs)
    try:
        for batch in _alone(batches, is_over) if jobs == 1 else _pooled(batches, is_over, jobs):
            totals.add(batch)
            totals.seconds = time.monotonic() - started
            if progress is not None:
                progress(totals)
            if totals.broken is not None:
                break
    except KeyboardInterrupt:
        totals.interrupted = True
    totals.seconds = time.monotonic() - started
    return totals


def _batches(first: int, runs: int | None) -> Iterator[tuple[int, int]]:
    """Seeds and how many from there."""
    done = 0
    while runs is None or done < runs:
        count = BATCH_RUNS if runs is None else min(BATCH_RUNS, runs - done)
        yield first + done, count
        done += count


def _alone(batches: Iterable[tuple[int, int]], is_over: Callable[[], bool]) -> Iterator[Batch]:
    for first, count in batches:
        if is_over():
            return
        yield run_batch(first, count)


def _pooled(
    batches: Iterator[tuple[int, int]], is_over: Callable[[], bool], jobs: int
) -> Iterator[Batch]:
    # Started anew: a process that was forked has the parent's threads' locks.
    pool = ProcessPoolExecutor(jobs, mp_context=get_context("spawn"))
    waiting: deque[Future[Batch]] = deque()
    try:
        while True:
            while len(waiting) < 2 * jobs and not is_over():
                batch = next(batches, None)
                if batch is None:
                    break
                with ignoring_ctrl_c():
                    waiting.append(pool.submit(run_batch, *batch))
            if not waiting:
                return
            yield waiting[0].result()
            waiting.popleft()
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def ignoring_ctrl_c() -> Iterator[None]:
    """What is started meanwhile never hears of it: the first process decides, and ends the others.

    A terminal sends it to all, and one that is still importing would die with a traceback. It is
    held back, which processes inherit, and not ignored: it reaches us when the ``with`` is over.
    """
    resource_tracker.ensure_running()  # else the first process started lets it through again
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def run_batch(first: int, count: int) -> Batch:
    """Run ``count`` seeds, or until one breaks a law."""
    batch = Batch()
    started = time.process_time()
    for number in range(first, first + count):
        batch.runs += 1
        try:
            with ending(RUN_CPU_S):
                outcome = run(seed_text(number))
        except Exception:  # noqa: BLE001  (a crash in a run is as bad as a broken law)
            batch.broken = number
            break
        batch.events += outcome.events
        batch.met += outcome.met
    batch.cpu_s = time.process_time() - started
    return batch


def shortened(seed: str, *, calls_max: int = 1_500) -> Violation | None:
    """The violation of a seed with the shortest story that is found; ``None`` if it holds.

    Raises:
        RefusedError: it is no seed, or of another version.
    """
    parameters, steps = steps_of(seed)

    def outcome(tried: list[Step], cpu_s: float = TRY_CPU_S) -> Exception | None:
        try:
            with ending(cpu_s):
                play(parameters, tried)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is what we look for)
            return error
        return None

    first = outcome(steps, RUN_CPU_S)
    if first is None:
        return None
    if isinstance(first, Violation) and first.law == LAW:  # each try takes as long as it may
        calls_max = min(calls_max, ENDLESS_CALLS_MAX)
    fewest = shortest(steps, lambda tried: same_finding(outcome(tried), first), calls_max=calls_max)
    rules, imports = "", ["from binlog.testing.world.world import World"]
    if parameters.domain:
        rules, imports = "CARTS", ["from binlog.testing.world.domain import CARTS", *imports]
    kinesis = f"kinesis={parameters.kinesis}"
    world = World(CARTS if rules else NO_RULES, kinesis=parameters.kinesis, tell=True)
    told = as_violation(first)
    try:
        with ending(TRY_CPU_S):
            for name, args in fewest:
                happen(world, name, args)
            world.settle()
    except Exception as error:  # noqa: BLE001
        told = as_violation(error)
    number = parse_seed(seed)
    told.story = told.story or tuple(world.story)
    told.repeat = f"scripts/soak --seed {seed_text(number)}"
    new_world = f"World({f'{rules}, ' if rules else ''}{kinesis})"
    told.test = as_test(f"seed_{number:x}", new_world, world.code, imports=imports)
    return told
